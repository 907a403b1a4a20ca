"""Table of docs/methods.md, from the methods' records and their trainers."""

from __future__ import annotations

import trl

from tasks.methods.registry import TRAINERS
from trainyard.contract.methods import METHODS, Method

_HEAD = "| method | what it is | trainer | needs |\n|---|---|---|---|\n"


def as_markdown() -> str:
    """The table, with a row for every method."""
    return _HEAD + "".join(map(_row, METHODS.values()))


def _row(how: Method) -> str:
    beta = f"; `beta` {how.settings['beta']}" if "beta" in how.settings else ""
    trainers = ", ".join(f"`{_of_trl(TRAINERS[name].trainer)}`" for name in how.trainers)
    return f"| `{how.name}` | {how.title}{beta} | {trainers} | {how.data} |\n"


def _of_trl(trainer: type) -> str:
    """TRL's own class below ``trainer``, by the name that it is imported with."""
    found = next(base for base in trainer.__mro__ if base.__module__.startswith("trl."))
    package = "trl" if hasattr(trl, found.__name__) else found.__module__.rpartition(".")[0]
    return f"{package}.{found.__name__}"
