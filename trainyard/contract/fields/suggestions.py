"""Suggestions for fields that nothing reads, or that are missing: what may be meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any, get_args

from pydantic import BaseModel

from trainyard.contract.request import StartRequest

Path = tuple[str, ...]
_SIMILAR = 0.7
"""Of difflib's ratio: names that share less than this are no slip of the hand."""
_SHORT, _SIMILAR_SHORT = 2, 0.6
"""Of two letters one is two thirds: ``rr`` is a slip of ``r``."""
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
        ".".join(path) + advice(path, [*known, *other.get(path[:-1], ())])
        for path, known in found[:IGNORED_MAX]
    )
    more = len(found) - IGNORED_MAX
    return [*named, f"{more:,} more fields"] if more > 0 else named


def written_instead(body: Mapping[str, Any], missing: Path) -> str:
    """What stands beside the place of a field that is missing, and may be it or belong in it."""
    beside: Any = body
    for part in missing[:-1]:
        beside = beside.get(part) if isinstance(beside, Mapping) else None
    if not isinstance(beside, Mapping):
        return ""
    paths = {path for places in _places().values() for path in places}
    strange = [
        name
        for name in islice((name for name in beside if isinstance(name, str)), IGNORED_MAX)
        if ".".join((*missing[:-1], name)) not in paths
    ]
    if inside := [name for name in strange if ".".join((*missing, name)) in paths]:
        return f" ({' and '.join(inside)} should be in it)"
    field = missing[-1]
    meant = [name for name in strange if _OTHER_WORDS.get(name) == field]
    meant += get_close_matches(field, strange, n=1, cutoff=_SIMILAR)
    return f" (did you write it as {meant[0]}?)" if meant else ""


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


def advice(path: Path, known: Collection[str]) -> str:
    """What may be meant by ``path``, of what is ``known`` beside it or stands elsewhere."""
    name = path[-1].lower()
    word = _OTHER_WORDS.get(name, name)
    places = _places().get(word, [])
    similar = _SIMILAR_SHORT if len(name) == _SHORT else _SIMILAR
    close = get_close_matches(name, known, n=1, cutoff=similar)
    if word in known:
        meant = word
    elif close and (similar == _SIMILAR or len(places) != 1):
        meant = close[0]
    else:
        meant = places[0] if len(places) == 1 else ""
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
