"""What the demo shows at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from backend_bridge.terminal import coloured_status, number


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
