"""Finding of the doctor: one sentence about the yard, and the mend."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Literal

CLOCK_SKEW_S = 2.0
Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """``sentence``: what is so; ``mend``: what to do about it, "" if nothing is to do."""

    check: str
    level: Level
    sentence: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Absence(Finding):
    """Nobody is there who should be. In the first moments of a yard they are still starting."""

    def while_starting(self, up_s: float) -> Finding:
        """The same of a yard whose Redis is up for ``up_s`` only."""
        sentence = f"{self.sentence} Redis is up for {up_s:.0f} s: they may be starting."
        return Finding(self.check, "warning", sentence, f"Look again in a moment. {self.mend}")


def clock_finding(whose: str, theirs: float) -> Finding:
    skew_s = abs(time.time() - theirs)
    if skew_s <= CLOCK_SKEW_S:
        return Finding("clocks", "ok", f"The clock agrees with that of {whose}.")
    return Finding(
        "clocks",
        "warning",
        f"This machine's clock and that of {whose} differ by {skew_s:.0f} s.",
        "Let both keep time by NTP; leases go by Redis's clock, log lines by the workers'.",
    )
