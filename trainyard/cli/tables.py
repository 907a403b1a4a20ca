"""Tables that the command line shows to people."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import click
from rich.console import Console, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from trainyard.contract.statuses import STATUSES
from trainyard.contract.units import MB
from trainyard.log_lines import clean
from trainyard.scheduling.nodes import Node

PIPE_COLUMNS = 400
LINE_CHARACTERS = 100
"""What is longer and has parts has a line for each."""
_COLOURS: Mapping[str, str] = {name: status.colour for name, status in STATUSES.items()}


def show(renderable: RenderableType) -> None:
    """Print to the terminal; plain text, neither cut nor filled to any width, if there is none."""
    console = Console()
    if console.is_terminal:
        console.print(renderable)
        return
    wide = Console(width=PIPE_COLUMNS)
    with wide.capture() as text:
        wide.print(renderable)
    click.echo("\n".join(line.rstrip() for line in text.get().splitlines()))


def plain(text: str) -> Text:
    """What somebody else wrote: no markup, and no control character for the terminal."""
    return Text("\n".join(clean(line) for line in text.splitlines()))


def coloured_status(status: str) -> Text:
    return Text(status, style=_COLOURS.get(status, "magenta"))


def number(value: float | None, digits: int = 4) -> str:
    """A figure for a table; a dash if it is not known."""
    return "–" if value is None else f"{value:,.{digits}g}"


def duration(seconds: float | None) -> str:
    """``1:02:03`` or ``2:03``; a dash if it is not known."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _status_cell(job: Mapping[str, Any]) -> Text:
    position, status = job["queue_position"], coloured_status(job["status"])
    if reason := job.get("waiting_reason"):  # a bridge before 0.2 has none
        return status.append(f" ({first_words(reason)})")
    return status.append(f" (position {position})") if position else status


def first_words(reason: str) -> str:
    """What a job waits for, without what to do about it."""
    return clean(re.split("[,:;](?= |$)", reason)[0])


def _step(job: Mapping[str, Any]) -> str:
    return f"{job['current_step']}/{job['total_steps']}" if job["total_steps"] else "–"


_JOB_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str | Text]] = {
    "job": lambda job: job["job_id"],
    "name": lambda job: plain(job["name"] or "–"),
    "model": lambda job: plain(job["model_name"] or "–"),
    "status": _status_cell,
    "progress": lambda job: f"{job['progress']:.0f}%",
    "step": _step,
    "loss": lambda job: number(job["loss"]),
    "eval": lambda job: number(job["eval_loss"]),
    "time": lambda job: duration(job["elapsed_seconds"] or None),
    "left": lambda job: duration(job["remaining_seconds"]),
    "made": lambda job: _age(job["created_at"]),
    "slot": lambda job: plain(job["slot"] or "–"),
    "user": lambda job: plain(job["user_id"] or "–"),
}
_DISPENSABLE = (
    "user",
    "model",
    "made",
    "slot",
    "eval",
    "left",
    "step",
    "name",
    "loss",
    "time",
    "progress",
)
"""Columns that a narrow terminal goes without, the first first."""


def show_jobs(jobs: Sequence[Mapping[str, Any]]) -> None:
    """One row a job."""
    _show_rows(jobs, _JOB_COLUMNS, _DISPENSABLE)


def _show_rows(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Callable[[Mapping[str, Any]], str | Text]],
    dispensable: Iterable[str],
    justify: JustifyMethod = "left",
) -> None:
    """A table; on a narrow terminal columns go until the others are whole."""
    console, wide = Console(), Console(width=PIPE_COLUMNS)
    shown, spare = dict(columns), (name for name in dispensable if name in columns)
    while True:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in shown:
            table.add_column(column, no_wrap=True, overflow="fold", justify=justify)
        for row in rows:
            table.add_row(*(cell(row) for cell in shown.values()))
        fits = wide.measure(table).maximum <= console.width
        dropped = None if fits or not console.is_terminal else next(spare, None)
        if dropped is None:
            return show(table)
        del shown[dropped]


def _age(created_at: str | None) -> str:
    """Time since then, in its largest unit: ``5 min``; a dash if it is not known."""
    if created_at is None:
        return "–"
    seconds = max((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds(), 0)
    units = ((86_400, "d"), (3600, "h"), (60, "min"))
    found = next(((size, unit) for size, unit in units if seconds >= size), (1, "s"))
    return f"{int(seconds // found[0])} {found[1]} ago"


def job_details(job: dict[str, Any]) -> Table:
    """Every known field of one job."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in job.items():
        if value is None or value in ({}, []):
            continue
        text = _shown(value)
        if isinstance(value, dict) and len(text) > LINE_CHARACTERS:
            text = "\n".join(f"{key} {_shown(inner)}" for key, inner in value.items())
        shown = coloured_status(value) if name == "status" else plain(text)
        table.add_row(name, shown)
    return table


_MARKS = {"best": "best kept", "latest": "latest"}
"""The best eval of all may have been at a step that wrote no checkpoint."""
_CHECKPOINT_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str | Text]] = {
    "checkpoint": lambda one: plain(one["path"]),
    "step": lambda one: str(one["step"]),
    "epoch": lambda one: number(one["epoch"]),
    "loss": lambda one: number(one["train_loss"]),
    "eval": lambda one: number(one["eval_loss"]),
    "size": lambda one: f"{one['size_bytes'] / MB:,.1f} MB",
    "written": lambda one: one["created_at"][:19].replace("T", " "),
    "": lambda one: ", ".join(said for mark, said in _MARKS.items() if one[f"is_{mark}"]),
}


def show_checkpoints(checkpoints: Sequence[Mapping[str, Any]]) -> None:
    """One row a checkpoint; its path is never cut: it is what resume takes."""
    _show_rows(checkpoints, _CHECKPOINT_COLUMNS, ("written", "epoch", "size", "loss", "step"))


def node_table(nodes: Iterable[Node]) -> Table:
    """One row a slot."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("slot", "state", "gpu", "job", "since", "reason"):
        table.add_column(column, overflow="fold")
    for node in nodes:
        since = (node.since or "")[:19].replace("T", " ")
        gpus, job = ", ".join(node.gpus) or "CPU", node.job_id or ""
        reason = node.reason or (f"its hours are {node.hours}" if node.hours else "")
        table.add_row(*map(plain, (node.slot, node.state, gpus, job, since, reason)))
    return table


class Shown(Protocol):
    """One line of a table of findings."""

    @property
    def check(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def sentence(self) -> str: ...
    @property
    def mend(self) -> str: ...


_LEVELS = {"ok": "green", "warning": "yellow", "failure": "red"}


def finding_table(findings: Iterable[Shown]) -> Table:
    """One row a finding; what to do stands below it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = plain(finding.sentence)
        if finding.mend:
            text.append(f"\n→ {finding.mend}")
        table.add_row(finding.check, Text(finding.level, style=_LEVELS[finding.level]), text)
    return table


def verdict_line(promise: str, reason: str, seconds: float) -> Text:
    """``pass`` or ``fail``, what was promised, and why it does not hold."""
    line = Text("fail" if reason else "pass", style="red" if reason else "green")
    line.append(f"  {promise} ({seconds:.1f} s)", style="default")
    return line.append_text(plain(f"\n      {reason}")) if reason else line


_TRAINED = (
    *("train_loss", "train_perplexity", "learning_rate", "grad_norm"),
    *("samples_per_second", "tokens_per_second"),
)
_LESS_TOLD = (
    *("eval_perplexity", "train_perplexity", "samples_per_second", "gpu_memory_reserved_gb"),
    *("gpu_utilization_percent", "gpu_memory_allocated_gb", "perplexity", "grad_norm"),
    *("tokens_per_second", "epoch", "learning_rate"),
)


def show_metrics(points: Sequence[Mapping[str, Any]]) -> None:
    """One row a step; a column for each field that occurs."""
    rows = _by_step(points)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: lambda row, name=name: number(row.get(name), 5) for name in names}
    _show_rows(rows, columns, _LESS_TOLD, "right")


def _by_step(points: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Points as rows: an eval's point carries what was trained last, which has a row of its own."""
    rows: list[dict[str, Any]] = []
    before: Mapping[str, Any] = {}
    for point in points:
        told = dict(point)
        is_carried = all(point.get(name) == before.get(name) for name in _TRAINED)
        if is_carried and point.get("eval_loss") is not None:
            told = {name: value for name, value in point.items() if name not in _TRAINED}
        before = point
        if rows and rows[-1]["step"] == point["step"]:
            rows[-1] |= told
        else:
            rows.append(told)
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(item["sentence"] for item in value)
    if isinstance(value, dict):
        known = {k: v for k, v in value.items() if v is not None}
        return ", ".join(f"{k} {_shown(v)}" for k, v in known.items())
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
