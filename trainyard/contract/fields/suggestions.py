"""Suggestions for fields that nothing reads: which one their writer may have meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import get_args

from pydantic import BaseModel

from trainyard.contract.request import StartRequest

Path = tuple[str, ...]
_SIMILAR = 0.7
"""Of difflib's ratio: names that share less than this are no slip of the hand."""
IGNORED_MAX = 100
"""Past it fields are counted: each costs a search for what was meant, and goes into the answer."""
_OURS = ("ignored", "notes", "group", "whole_dataset_path")
_OTHER_WORDS = {
    "dataset": "dataset_path",
    "epochs": "num_epochs",
    "job_id": "execution_id",
    "lr": "learning_rate",
    "rank": "r",
    "token": "job_token",
}
"""What people write instead of a name that looks different."""


def ignored_fields(request: StartRequest, spellings: Collection[Path]) -> list[str]:
    """Dotted paths of what ``request`` holds beyond the contract, each with what may be meant.

    ``spellings``: the other spellings that are read, below ``config``.
    """
    found = [(path, known) for path, known in _extras(request, ()) if path[0] not in _OURS]
    other: dict[Path, list[str]] = {}
    for *section, name in spellings:
        other.setdefault(("config", *section), []).append(name)
    named = sorted(
        ".".join(path) + _advice(path, [*known, *other.get(path[:-1], ())])
        for path, known in found[:IGNORED_MAX]
    )
    more = len(found) - IGNORED_MAX
    return [*named, f"{more:,} more fields"] if more > 0 else named


def _extras(model: BaseModel, path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Path of each field that is not known, with the names that are known beside it."""
    if model.model_extra:
        known = [name for name in type(model).model_fields if name not in _OURS]
        for key in model.model_extra:
            yield (*path, key), known
    for name, value in model.__dict__.items():
        for place, inner in _models(value):
            yield from _extras(inner, (*path, name, *place))


def _models(value: object) -> Iterator[tuple[Path, BaseModel]]:
    """The models that a field holds, each with its place in a list."""
    if isinstance(value, BaseModel):
        yield (), value
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            if isinstance(inner, BaseModel):
                yield (str(place),), inner


def _advice(path: Path, known: Collection[str]) -> str:
    name = path[-1].lower()
    meant = _OTHER_WORDS.get(name)
    if meant is None or meant not in known:
        meant = next(iter(get_close_matches(name, known, n=1, cutoff=_SIMILAR)), None)
    if meant is None:
        places = _places().get(_OTHER_WORDS.get(name, name), [])
        meant = places[0] if len(places) == 1 else None
    return f" (did you mean {meant}?)" if meant else ""


@cache
def _places() -> Mapping[str, list[str]]:
    """Name of a field → the dotted paths at which the contract has it."""
    found: dict[str, list[str]] = {}
    for path in _fields(StartRequest, ()):
        found.setdefault(path[-1], []).append(".".join(path))
    return found


def _fields(model: type[BaseModel], path: Path) -> Iterator[Path]:
    for name, field in model.model_fields.items():
        if name not in _OURS:
            yield (*path, name)
            for kind in (field.annotation, *get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield from _fields(kind, (*path, name))
