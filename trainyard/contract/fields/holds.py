"""Fields that hold a job back: until a time, until other jobs have completed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from trainyard.contract.names import JOB_ID_PATTERN

_AFTER_MAX = 100
_YEARS = range(1970, 9000)


def refuse_number(value: Any) -> Any:
    """``value``: pydantic would take ``0.5`` for seconds since 1970, and large ones for ms."""
    is_number = isinstance(value, int | float)
    if is_number or (isinstance(value, str) and value.replace(".", "", 1).lstrip("+-").isdigit()):
        raise ValueError("is a number: give a time such as 2026-01-31T12:00:00Z")
    return value


def _can_be_said(value: datetime) -> datetime:
    """``value``: in some time zone the years 1 and 9999 have no date, and the queue names it."""
    if value.year not in _YEARS:
        raise ValueError(f"should be of a year from {_YEARS.start} to {_YEARS.stop - 1}")
    return value


def _several(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    return list(dict.fromkeys(value)) if _is_texts(value) else value


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


Instant = Annotated[AwareDatetime, BeforeValidator(refuse_number)]
NotBefore = Annotated[Instant, AfterValidator(_can_be_said)]
After = Annotated[
    list[Annotated[str, Field(pattern=JOB_ID_PATTERN)]],
    Field(max_length=_AFTER_MAX),
    BeforeValidator(_several),
]
