"""Numbers of a request: their bounds, and no truth value for one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def refuse_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


NOT_BOOL = BeforeValidator(refuse_bool)
"""Stands last: what stands after it would be missing in the JSON schema."""
Count = Annotated[int, Field(ge=1, le=1_000_000_000), NOT_BOOL]
BatchSize = Annotated[int, Field(ge=1, le=65_536), NOT_BOOL]
NonNegativeInt = Annotated[int, Field(ge=0), NOT_BOOL]
NonNegativeFloat = Annotated[float, Field(ge=0), NOT_BOOL]
Fraction = Annotated[float, Field(ge=0, le=1), NOT_BOOL]
Beta = Annotated[float, Field(ge=0, lt=1), NOT_BOOL]
