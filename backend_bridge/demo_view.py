"""What the demo shows: a live progress bar, and the summary."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from backend_bridge.terminal import coloured_status, duration, number

LINE_EVERY_S = 5.0
"""Where there is no terminal, a line in this time stands for the bar."""


class ProgressView:
    """A bar with loss and time left on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  eval {task.fields[eval]}"),
            TextColumn("{task.fields[left]} left"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("queued", total=None, loss="–", eval="–", left="–")
        self._last_line = 0.0

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
        left = duration(job["remaining_seconds"])
        self._progress.update(
            self._bar,
            description=job["status"],
            completed=step or 0,
            total=total,
            loss=loss,
            eval=evaluated,
            left=left,
        )
        if not self._console.is_terminal and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            position = job["queue_position"]
            parts = [f"position {position}"] if position else []
            parts += [f"step {step or 0}/{total}"] if total else []
            parts += [f"loss {loss}"] if job["loss"] is not None else []
            parts += [f"eval loss {evaluated}"] if job["eval_loss"] is not None else []
            parts += [f"{left} left"] if job["remaining_seconds"] is not None else []
            self._console.print(f"{job['status']}: {', '.join(parts)}".removesuffix(": "))


def summary(
    job: Mapping[str, Any],
    stored_status: str,
    seconds: Mapping[str, float],
    prompt: str,
    texts: Sequence[str],
) -> Group:
    """The job at its end; ``texts`` are the base model's and the trained one's."""
    result = job["result"]
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("status at the backend", coloured_status(stored_status))
    table.add_row("eval loss", _fall(result))
    table.add_row("perplexity", number(result.get("perplexity")))
    table.add_row("speed", f"{number(result.get('tokens_per_second'))} tokens per second")
    before = {name: seconds[name] for name in ("materials", "services")}
    phases = {**before, **job["phases"], "generate": seconds["generate"]}
    shown = (f"{name.replace('_', ' ')} {taken:.1f} s" for name, taken in phases.items())
    table.add_row("time by phase", ", ".join(shown))
    base, trained = texts
    return Group(
        table,
        Panel(Text(prompt), title="prompt"),
        Panel(Text(_printable(base)), title="base model"),
        Panel(Text(_printable(trained)), title="trained model"),
    )


def _printable(text: str) -> str:
    """Half a character at the end of what was generated is nothing to look at."""
    return text.replace("\ufffd", "")


def _fall(result: Mapping[str, Any]) -> str:
    first, last = result.get("first_eval_loss"), result.get("last_eval_loss")
    if first is None or last is None or first == last:
        return f"{number(last)} (evaluated once)"
    return f"{first:.3f} at the start, {last:.3f} at the end ({(last - first) / first:+.0%})"
