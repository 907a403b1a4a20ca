"""Answers about the yard's health, from which the OpenAPI document is made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class HealthAnswer(BaseModel):
    """``reasons``: why the yard is degraded. ``slots_out_of_service``: slots that take no jobs,
    each with its reason. ``slot_hours``: of each slot that has such, when it takes jobs, in which
    time zone. 1 GB of ``gpu_info`` is 10^9 bytes."""

    status: Literal["ok", "degraded"]
    reasons: list[str]
    gpu_available: bool
    gpu_info: list[dict[str, Any]] | None
    active_jobs: int
    queued_jobs: int
    slots: list[str]
    slots_out_of_service: dict[str, str]
    slot_hours: dict[str, str]
    version: str


class AliveAnswer(BaseModel):
    """The bridge itself is well; of the yard ``/health`` tells."""

    status: Literal["ok"] = "ok"
