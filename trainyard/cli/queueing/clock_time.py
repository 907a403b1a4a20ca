"""Time that a person writes: ``22:00`` is the next one of this machine's clock."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

import click

_OF_THE_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")


class ClockTime(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """ISO 8601, or a time of the day; without a zone in this machine's. It becomes ISO with one."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return absolute(value, datetime.now()).isoformat(timespec="seconds")
        except ValueError:
            self.fail(f"{value!r} is no time: write 22:00, or 2026-01-31T22:00:00+01:00")


def absolute(written: str, now: datetime) -> datetime:
    """The time, with its zone; ``now`` is this machine's, without one. Raises ValueError."""
    text = written.strip()
    if not _OF_THE_DAY.fullmatch(text):
        if text.isdigit():
            raise ValueError("a date and a time, not a number")
        return datetime.fromisoformat(text).astimezone()
    then = datetime.combine(now.date(), time.fromisoformat(text.zfill(5)))
    if then <= now:  # a day of the calendar, which may have 23 hours or 25
        then += timedelta(days=1)
    return then.astimezone()
