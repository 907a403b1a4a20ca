"""Splits of a data set, told by the names of its files and folders: which train, which evaluate.

A word like ``train`` or ``test`` counts if it is the first or the last of a name, or a folder:
``unit-test-questions.jsonl`` is no test split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

from tasks.datasets.sources.names import plain_stem
from tasks.errors import DatasetError

TRAIN_NAMES = ("train", "training")
EVAL_NAMES = ("validation", "eval", "evaluation", "valid", "val", "dev", "test", "testing")
"""In the order in which they are preferred: a test split evaluates where there is no other."""

HOW_TO_CHOOSE = (
    "Say which trains in config.data.split, as in {name!r} (several: 'a+b'), or name its file or "
    "folder."
)
_SEPARATOR = re.compile(r"[-_. =]+")
_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}(?:-[0-9a-f]{6,})?")
_NUMBERED = re.compile(r"(.*-)(\d{5})-of-(\d{5})(.*)", re.DOTALL)
_NUMBERING = re.compile(r"\d+|of|(?:part|shard|chunk|file|batch|p)\d*|[0-9a-f]{16,}")

_File = TypeVar("_File", bound="DataFile")


@dataclass(frozen=True)
class DataFile:
    """A file to read. ``name`` is what people know it by: its path below the source."""

    path: Path
    name: str


@dataclass(frozen=True)
class SplitName:
    """``train_sft``: its ``word`` train, ``rest`` sft. ``sure``: it has no other reading."""

    name: str
    word: str
    rest: str
    sure: bool


def split_name(text: str) -> SplitName | None:
    """What a name of a file, a folder or a split tells; None if it tells no split."""
    shard = _SHARD.fullmatch(text.lower())
    words = [
        word
        for word in _SEPARATOR.split(shard.group(1) if shard else text.lower())
        if word and not _NUMBERING.fullmatch(word)
    ]
    known = (*TRAIN_NAMES, *EVAL_NAMES)
    if words and (first := words[0].rstrip("0123456789")) in known:
        rest = "_".join(words[1:])
        return SplitName("_".join((first, *words[1:])), first, rest, not rest or bool(shard))
    if words and words[-1] in known:
        return SplitName(words[-1], words[-1], "_".join(words[:-1]), False)
    return None


def _split_of(file: DataFile) -> SplitName | None:
    path = PurePath(file.name)
    of_file = split_name(plain_stem(path.name))
    if of_file is not None and of_file.sure:
        return of_file
    folders = [found for part in reversed(path.parts[:-1]) if (found := split_name(part))]
    of_folder = next((found for found in folders if not found.rest or found.rest == "split"), None)
    return of_folder or of_file or (folders[0] if folders else None)


def by_split(
    files: Sequence[_File], source: str, *, told: bool = False
) -> tuple[dict[str, list[_File]], str]:
    """Files by the split that their names tell, and a note; none telling any, all are ``train``.

    ``told``: the person says which split trains. Raises DatasetError where some names tell a
    split, and others none.
    """
    named: dict[str, list[_File]] = {}
    unnamed: list[_File] = []
    found = [_split_of(file) for file in files]
    for file, split in zip(files, found, strict=True):
        shard = _SHARD.fullmatch(plain_stem(PurePath(file.name).name))
        if split is not None:
            named.setdefault(split.name, []).append(file)
        elif shard and any(found):
            named.setdefault(shard.group(1), []).append(file)
        else:
            unnamed.append(file)
    if not unnamed:
        return named, ""
    if not named:
        return {"train": unnamed}, ""
    if told:
        return {**named, "": unnamed}, ""
    splits = [split for split in found if split is not None]
    if _are_chance(splits, unnamed):
        words = ", ".join(sorted({repr(split.word) for split in splits}))
        return {"train": list(files)}, f"{words} in a file's name is not taken for a split"
    raise DatasetError(
        f"In the folder {source!r} some files are named after a split "
        f"({', '.join(sorted(named))}), but {unnamed[0].name!r} is not.",
        "Name every file after its split (train-..., validation-...), or none; or say which trains "
        "in config.data.split.",
    )


def missing_shards(names: Iterable[str]) -> list[tuple[str, int, int]]:
    """Of each series of shards of which some are absent: the first, how many, and of how many."""
    there: dict[tuple[str, int, str], set[int]] = {}
    for name in names:
        if found := _NUMBERED.fullmatch(name):
            series = found[1], int(found[3]), found[4]
            there.setdefault(series, set()).add(int(found[2]))
    missing = []
    for (begin, total, end), numbers in there.items():
        absent = total - len(numbers)
        if absent > 0:
            first = next(number for number in range(total) if number not in numbers)
            missing.append((f"{begin}{first:05}-of-{total:05}{end}", absent, total))
    return missing


def _are_chance(splits: Iterable[SplitName], unnamed: Iterable[DataFile]) -> bool:
    """Whether the words stand in names by chance: no other file makes a contrast to them."""
    others = {plain_stem(PurePath(file.name).name).lower() for file in unnamed}
    others = {"_".join(_SEPARATOR.split(other)) for other in others}
    return len({split.word for split in splits}) == 1 and not any(
        split.sure or split.rest in others for split in splits
    )


def chosen_splits(
    splits: Mapping[str, object], source: str, told: str | None
) -> tuple[list[str], str | None]:
    """The splits that train, and the one that evaluates. Raises DatasetError.

    ``told`` is ``config.data.split``: a name, or several with ``+``.
    """
    names = {name: split_name(name) for name in splits}
    if told:
        train = [_told(name, splits, source) for name in told.split("+")]
    else:
        train = [name for name, split in names.items() if split and split.word in TRAIN_NAMES]
        train = train or (list(splits) if len(splits) == 1 else [])
        if not train:
            raise DatasetError(
                f"The data set {source!r} has the splits {sorted(splits)}, none of them 'train'.",
                HOW_TO_CHOOSE.format(name=min(splits)),
            )
        if len(train) > 1:
            raise DatasetError(
                f"The data set {source!r} has several splits to train on: {', '.join(train)}.",
                HOW_TO_CHOOSE.format(name=train[0]),
            )
    first = names[train[0]]
    wanted = first.rest if first else ""
    candidates = [
        (split.rest != wanted, split.rest != "", EVAL_NAMES.index(split.word), name)
        for name, split in names.items()
        if split is not None and split.word in EVAL_NAMES and name not in train
    ]
    return train, min(candidates)[-1] if candidates else None


def _told(name: str, splits: Iterable[str], source: str) -> str:
    wanted = _SEPARATOR.sub("_", name.strip().lower())
    for split in splits:
        if _SEPARATOR.sub("_", split.lower()) == wanted:
            return split
    listed = ", ".join(sorted(filter(None, splits)))
    raise DatasetError(
        f"The data set {source!r} has no split {name.strip()!r}; it has {listed or 'no splits'}.",
        "Name one of them in config.data.split.",
    )


def is_for_evaluation(name: str) -> bool:
    """Whether a split evaluates by its name."""
    split = split_name(name)
    return split is not None and split.word in EVAL_NAMES
