"""Routes of a backend that are called for a job, as the contract names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Endpoint = Literal["status", "metrics", "logs", "points", "predictions", "row"]

ROUTES: Mapping[Endpoint, str] = {
    "status": "PATCH /api/training/local/{jobId}/status",
    "metrics": "PUT /api/training/local/{jobId}/metrics",
    "logs": "POST /api/training/local/{jobId}/logs",
    "points": "POST /api/training/local/metrics",
    "predictions": "POST /api/training/local/predictions",
    "row": "POST /api/training/local/jobs",
}

WITHOUT: Mapping[str, str] = {
    ROUTES["points"]: "after an outage metric points go out one by one",
    ROUTES["predictions"]: "predictions stand only in the job's log and folder",
    ROUTES["row"]: "it is not told totals, times, best values and the reason of a failure",
}
"""Routes that a backend may lack, each with what that means."""
