"""Time limits of a job: what it may take before its first step, and in all.

A start that works without an end (a template that loops, a regular expression that backtracks) is
no hang: it uses the processor.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.settings import Settings

HOUR_S = 3600.0


@dataclass(frozen=True)
class TimeLimits:
    """``ran_s``: what earlier attempts have spent in slots. A limit of None is none."""

    start_s: float | None
    job_s: float | None
    ran_s: float
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, settings: Settings, request: Mapping[str, Any], ran_s: float) -> TimeLimits:
        """The worker's limits and the request's own: the shorter one counts."""
        asked = request.get("config", {}).get("training", {}).get("max_hours")
        hours = [limit for limit in (settings.max_job_hours, asked) if limit is not None]
        return cls(settings.start_timeout, min(hours) * HOUR_S if hours else None, ran_s)

    def passed(self, now: float, *, has_begun: bool) -> str:
        """The sentence for a limit that is passed at ``now`` (``time.monotonic()``), or ""."""
        here_s = now - self.started
        if self.start_s is not None and not has_begun and here_s > self.start_s:
            return f"The job made no step within {self.start_s:g} s (START_TIMEOUT)."
        if self.job_s is not None and self.ran_s + here_s > self.job_s:
            return (
                f"The job has taken its {self.job_s / HOUR_S:g} hours (MAX_JOB_HOURS, or "
                "config.training.max_hours)."
            )
        return ""
