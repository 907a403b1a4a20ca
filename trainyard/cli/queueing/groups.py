"""Sweeps in the list of jobs, one line each, and the table of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from trainyard.cli.tables import coloured_status, number, plain
from trainyard.contract.statuses import STATUSES, group_status

_CALLED = {"best_eval_loss": "best eval", "loss": "loss"}


def folded(jobs: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The jobs with a line for each sweep, at the place where the newest of its own was."""
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for job in jobs:  # a bridge of an older version knows no groups
        lines.setdefault(job.get("group") or job["job_id"], []).append(job)
    return [_line(key, those) for key, those in lines.items()]


def _line(key: str, jobs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    first = jobs[0]
    if first["job_id"] == key:
        return first
    evals = [job["best_eval_loss"] for job in jobs if job["best_eval_loss"] is not None]
    return {
        **first,
        "job_id": key,
        "name": f"sweep, {len(jobs)} jobs: {counted(Counter(job['status'] for job in jobs))}",
        "status": group_status({job["status"] for job in jobs}),
        "progress": sum(job["progress"] for job in jobs) / len(jobs),
        "eval_loss": min(evals, default=None),
        "elapsed_seconds": sum(job["elapsed_seconds"] for job in jobs),
        "slot": ", ".join(sorted({job["slot"] for job in jobs if job["slot"]})) or None,
        "created_at": min(job["created_at"] for job in jobs),
        **dict.fromkeys(("queue_position", "waiting_reason", "loss", "remaining_seconds")),
        **dict.fromkeys(("current_step", "total_steps"), 0),
    }


def counted(counts: Mapping[str, int]) -> str:
    """``3 completed, 1 failed``."""
    return ", ".join(f"{counts[name]} {name}" for name in STATUSES if counts.get(name))


def sweep_table(answer: Mapping[str, Any]) -> Table:
    """One row a job, the best marked."""
    measure = answer["measure"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("job", *answer["settings"], _CALLED[measure], "status"):
        table.add_column(column, overflow="fold")
    for job in answer["jobs"]:
        is_best = job["job_id"] == answer["best"]
        value = Text(number(job[measure]) + (" best" if is_best else ""), "bold" if is_best else "")
        status = coloured_status(job["status"])
        if job["error"]:
            status.append_text(plain(f" ({job['error']})"))
        settings = [plain(str(job["settings"].get(name))) for name in answer["settings"]]
        table.add_row(job["job_id"], *settings, value, status)
    return table
