"""Active hours of a slot: when it takes jobs, by the clock on the wall of a time zone."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FORM = re.compile(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)", re.ASCII)
_DAY = 24 * 60
_LOOKED_AHEAD = timedelta(days=2)
"""An hour that a change of the clocks leaves out is there on the next day."""


@dataclass(frozen=True)
class ActiveHours:
    """``ranges``: from and until, in minutes of the day; the second may be the smaller one, of a
    range over midnight. ``zone``: None is the machine's own; ``text`` is what was written.
    """

    ranges: tuple[tuple[int, int], ...]
    zone: ZoneInfo | None
    text: str

    @classmethod
    def parse(cls, text: str) -> ActiveHours:
        """Read ``22:00-08:00 Europe/Berlin``, the zone left out for the machine's own; several
        ranges have commas between them. Raises ValueError, with what would be right."""
        written, _, zone = text.strip().partition(" ")
        ranges = tuple(map(_range, written.split(",")))
        return cls(ranges, _zone(zone.strip()) if zone.strip() else None, " ".join(text.split()))

    def at(self, now_s: float) -> datetime:
        """What the clock on the wall shows."""
        now = datetime.fromtimestamp(now_s, UTC)
        return now.astimezone(self.zone)  # None: the machine's own

    def is_open(self, now_s: float) -> bool:
        """Whether jobs run at that moment."""
        wall = self.at(now_s)
        minute = 60 * wall.hour + wall.minute
        return any(
            first <= minute < end if first < end else minute >= first or minute < end
            for first, end in self.ranges
        )

    def opens_at(self, now_s: float) -> datetime | None:
        """When jobs run again, on the wall; None if they do now."""
        if self.is_open(now_s):
            return None
        # Minute by minute, as the hands go: clocks that are changed skip some, and repeat others.
        minute_s = 60 * (now_s // 60 + 1)
        for n in range(int(_LOOKED_AHEAD.total_seconds()) // 60):
            if self.is_open(minute_s + 60 * n):
                return self.at(minute_s + 60 * n)
        raise AssertionError("every range is open at some minute of each day")

    def closed_until(self, now_s: float) -> str:
        """The same in words; "" while jobs run."""
        at = self.opens_at(now_s)
        return "" if at is None else f"{at:%a %H:%M %Z}"

    def __str__(self) -> str:
        """With the zone that is in force."""
        own = "/".join(dict.fromkeys(time.tzname))
        return self.text if self.zone else f"{self.text} local time ({own})"


def _range(text: str) -> tuple[int, int]:
    found = _FORM.fullmatch(text.strip())
    hours = [int(n) for n in found.groups()] if found else [_DAY] * 4
    first, end = 60 * hours[0] + hours[1], 60 * hours[2] + hours[3]
    if max(hours[1], hours[3]) > 59 or first >= _DAY or end > _DAY:
        raise ValueError(
            "should be times of day as in 22:00-08:00, several with commas and no spaces between, "
            "and a time zone after a space if it is not the machine's own: 22:00-08:00 "
            "Europe/Berlin"
        )
    if first == end % _DAY:
        raise ValueError(f"{text} is the whole day: leave it unset")
    return first, end % _DAY or _DAY


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {name!r} here: write one as Europe/Berlin or UTC, or leave it "
            "out for the machine's own"
        ) from None
