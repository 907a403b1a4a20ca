"""Data sets of a request that trains on several: each with how much of it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trainyard.contract.fields.numbers import NOT_BOOL, Count

DATA_SETS_MAX = 50
WEIGHT_MAX = 1000
NAMED_CHARACTERS_MAX = 1000


def _refuse_weight(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and value <= 0:
        raise ValueError("should be above 0: to train on none of a set's rows, leave the set out")
    if number and value > WEIGHT_MAX:
        raise ValueError(
            f"should be at most {WEIGHT_MAX}: it is how many times the rows of the set count"
        )
    return value


def _refuse_no_path(value: Any) -> Any:
    if value == "":
        raise ValueError("should not be empty: name a file, a folder or an address")
    return value


class DataSet(BaseModel):
    """One of several data sets.

    ``weight``: how many times its rows count; of 0.5 a half of them, of 2.3 all of them twice and
    then 30 %, drawn by the seed. ``samples``: so many rows instead. ``columns``, ``subset`` and
    ``split``: as in ``config.data``, for this one.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    path: Annotated[str, Field(min_length=1, max_length=8192), BeforeValidator(_refuse_no_path)]
    weight: (
        Annotated[float, Field(gt=0, le=WEIGHT_MAX), NOT_BOOL, BeforeValidator(_refuse_weight)]
        | None
    ) = None
    samples: Count | None = None
    columns: dict[str, str] | None = None
    subset: str | None = None
    split: str | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> DataSet:
        if self.weight is not None and self.samples is not None:
            raise ValueError("weight and samples both say how many of its rows count: send one")
        return self

    @property
    def title(self) -> str:
        """What people call it: its path, with the weight or the samples if it has any."""
        if self.samples is not None:
            return f"{self.path} ({self.samples:,} rows)"
        return self.path if self.weight is None else f"{self.path} (weight {self.weight:g})"


def _refuse_count(value: Any) -> Any:
    if isinstance(value, list) and not value:
        raise ValueError(
            'should name at least one data set, as in [{"path": "chats.jsonl", "weight": 2}]'
        )
    if isinstance(value, list) and len(value) > DATA_SETS_MAX:
        raise ValueError(f"should name at most {DATA_SETS_MAX}: put several in one folder")
    return value


def _refuse_twice(value: list[DataSet]) -> list[DataSet]:
    known = dict[str, int]()
    for place, one in enumerate(value):
        same = known.setdefault(str((one.path, one.subset, one.split, one.columns)), place)
        if same != place:
            raise ValueError(
                f"{place} is the same data set as {same} ({one.path}): send it once, with a "
                "weight, or tell them apart by subset, split or columns"
            )
    return value


DataSets = Annotated[
    list[DataSet],
    Field(min_length=1, max_length=DATA_SETS_MAX),
    AfterValidator(_refuse_twice),
    BeforeValidator(_refuse_count),
]


def named(path: str, data_sets: Sequence[DataSet] | None) -> str:
    """What trains, in a line of bounded length; empty if it came with the request."""
    return path or ", ".join(one.title for one in data_sets or ())[:NAMED_CHARACTERS_MAX]
