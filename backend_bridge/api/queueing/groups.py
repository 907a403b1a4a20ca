"""Route of a group: the jobs that one sweep made, by what only that job has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from backend_bridge.api.context import ThisBridge
from backend_bridge.api.error_responses import error_answers
from backend_bridge.api.responses import JobAnswer
from trainyard.contract.statuses import JobStatus, group_status

router = APIRouter(tags=["jobs"])
Measure = Literal["best_eval_loss", "loss"]


class GroupAnswer(BaseModel):
    """``settings``: dotted paths below ``config``. ``counts``: jobs by status. ``best``: the job
    whose ``measure`` is the lowest: the best eval, or the last train loss if none has one."""

    group: str
    status: JobStatus
    counts: dict[JobStatus, int]
    settings: list[str]
    measure: Measure
    best: str | None
    jobs: list[JobAnswer]


@router.get("/api/training/groups/{group}", responses=error_answers(404))
def group(bridge: ThisBridge, group: str) -> GroupAnswer:
    """A sweep: its settings beside the best eval of each job that was not removed."""
    found = bridge.store.group(group)
    if not found:
        raise HTTPException(404, f"there is no sweep {group!r}; `trainyard ps` lists them")
    positions = bridge.store.queue_positions([job.job_id for job in found])
    jobs = list(map(JobAnswer.of, found, positions, bridge.waiting_reasons(found)))
    has_evals = any(job.best_eval_loss is not None for job in jobs)
    measure: Measure = "best_eval_loss" if has_evals else "loss"
    statuses = Counter(job.status for job in jobs)
    return GroupAnswer(
        group=group,
        status=group_status(statuses),
        counts=dict(statuses),
        settings=list(found[0].settings),
        measure=measure,
        best=min(_measured(jobs, measure), default=(0.0, None))[1],
        jobs=jobs,
    )


def _measured(jobs: Sequence[JobAnswer], measure: Measure) -> Iterator[tuple[float, Any]]:
    for job in jobs:
        if (value := getattr(job, measure)) is not None:
            yield value, job.job_id
