"""Table of a month's usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from trainyard.cli.tables import plain, show

Row = Mapping[str, Any]


def show_usage(answer: Row) -> None:
    """A row for each, their sum below, and what is not in it."""
    show(_table(answer))
    for line in _notes(answer):
        show(line)


def _table(answer: Row) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(answer["by"] or "", overflow="fold")
    for name in ("attempts", "slot hours", "GPU hours", "kWh", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in answer["rows"]:
        table.add_row(plain(row["name"]), str(row["attempts"]), *_cells(row["usage"]))
    table.add_row(answer["month"], str(answer["attempts"]), *_cells(answer["total"]))
    return table


def _cells(figures: Row) -> tuple[str, ...]:
    energy, cost = figures["energy_kwh"], figures["cost"]
    return (
        f"{figures['slot_hours']:,.2f}",
        f"{figures['gpu_hours']:,.2f}",
        "–" if energy is None else f"{energy:,.3f}",
        "–" if cost is None else f"{cost:,.2f} {figures['currency'] or ''}".rstrip(),
    )


def _notes(answer: Row) -> Iterator[str]:
    total, running = answer["total"], answer["running"]
    if total["energy_kwh"] is not None and total["metered_hours"] < total["slot_hours"]:
        yield (
            f"Energy is known of {total['metered_hours']:,.2f} of the "
            f"{total['slot_hours']:,.2f} slot hours."
        )
    if running["slot_hours"]:
        yield f"Not yet counted: {running['slot_hours']:,.2f} slot hours of attempts that run."
