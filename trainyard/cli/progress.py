"""Progress of a job: a live bar, or a line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from trainyard.cli.tables import duration, first_words, number

LINE_EVERY_S = 5.0
"""Where there is no terminal, a line in this time stands for the bar, if it is another one."""


class ProgressView:
    """A bar with loss and time left on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  eval {task.fields[eval]}"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]} left"),
            TextColumn("{task.fields[gpu]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task(
            "queued", total=None, loss="–", eval="–", left="–", speed="", gpu=""
        )
        self._last_line, self._said = 0.0, ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def update(self, job: Mapping[str, Any]) -> None:
        """Show ``job``, an answer of the bridge's status call."""
        step, total = job["current_step"], job["total_steps"]
        loss, evaluated = number(job["loss"]), number(job["eval_loss"])
        left, speed, gpu = duration(job["remaining_seconds"]), _speed(job), _gpu(job)
        why = job.get("waiting_reason")
        self._progress.update(
            self._bar,
            description=f"{job['status']} ({first_words(why)})" if why else job["status"],
            completed=step or 0,
            total=total or None,
            loss=loss,
            eval=evaluated,
            left=left,
            speed=speed,
            gpu=gpu,
        )
        if not self._console.is_terminal and time.monotonic() - self._last_line > LINE_EVERY_S:
            parts = [f"position {job['queue_position']}"] if job["queue_position"] else []
            parts += [why] if why else []
            parts += [f"step {step or 0}/{total}"] if total else []
            parts += [f"loss {loss}"] if job["loss"] is not None else []
            parts += [f"eval loss {evaluated}"] if job["eval_loss"] is not None else []
            parts += [f"{left} left"] if job["remaining_seconds"] is not None else []
            parts += [part for part in (speed, gpu) if part]
            line = f"{job['status']}: {', '.join(parts)}".removesuffix(": ")
            if line != self._said:
                self._last_line, self._said = time.monotonic(), line
                self._console.print(line)


def _speed(job: Mapping[str, Any]) -> str:
    speed = job["tokens_per_second"]
    return "" if speed is None else f"{speed:,.0f} tokens/s"


def _gpu(job: Mapping[str, Any]) -> str:
    memory, busy = job["gpu_memory_allocated_gb"], job["gpu_utilization_percent"]
    parts = [] if busy is None else [f"{busy:.0f}%"]
    parts += [] if memory is None else [f"{memory:.1f} GB"]
    return f"GPU {' '.join(parts)}" if parts else ""
