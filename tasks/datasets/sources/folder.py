"""Files of a source that train and that evaluate, and those that are left out, each with why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from tasks.datasets.formats import magic_bytes
from tasks.datasets.formats.table import format_of_suffix
from tasks.datasets.row_shapes import list_of_rows, makes_a_row
from tasks.datasets.sources import card
from tasks.datasets.sources.names import (
    is_about,
    is_data_file,
    is_hidden,
    is_surely_no_data,
)
from tasks.datasets.sources.saved import is_saved, saved_splits
from tasks.datasets.sources.splits import (
    TRAIN_NAMES,
    DataFile,
    by_split,
    chosen_splits,
    is_for_evaluation,
    missing_shards,
)
from tasks.datasets.sources.unpack import Unpacker
from tasks.errors import DatasetError

_LARGEST_SETTINGS = 1024 * 1024


@dataclass(frozen=True)
class Choice:
    """``config.data`` as far as it chooses files: a subset, and a split that trains."""

    subset: str | None = None
    split: str | None = None


EVERY_FILE = Choice()


@dataclass(frozen=True)
class LeftOut:
    """A file that is not read, and why. ``expected``: nobody would miss its rows."""

    name: str
    why: str
    expected: bool = False


@dataclass
class Chosen:
    """``splits``: ``train`` and, where there is one, ``eval`` → files, unpacked, in order."""

    splits: dict[str, list[DataFile]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def data_files(source: DataFile, unpacker: Unpacker, choice: Choice = EVERY_FILE) -> Chosen:
    """Choose the files of a source. Raises DatasetError."""
    source = DataFile(unpacker.unpacked(source.path, source.name), source.name)
    chosen = Chosen()
    if source.path.is_file():
        split = None if choice.split in TRAIN_NAMES else choice.split
        for name, told in (("subset", choice.subset), ("split", split)):
            if told:
                raise DatasetError(
                    f"config.data.{name} is {told!r}, but {source.name!r} is one file.",
                    f"Leave it out, or name a folder that has this {name}.",
                )
        chosen.splits = {"train": [source]}
        return chosen
    folder = _root(source.path, choice.subset)
    _refuse_a_table_with_a_log(folder, source.name)
    if is_saved(folder):
        splits: dict[str, list[DataFile]] = saved_splits(folder)
    else:
        splits = _splits_of(folder, source.name, unpacker, choice, chosen)
    train, evaluation = chosen_splits(splits, source.name, choice.split)
    for shard, absent, total in missing_shards(
        file.name for files in splits.values() for file in files
    ):
        why = f"it is not there: {absent:,} of {total:,} shards are missing"
        chosen.left_out.append(LeftOut(shard, why))
    for name in set(splits) - {*train, evaluation}:
        expected = bool(choice.split) or is_for_evaluation(name)
        why = f"the split {name!r} is not used" if name else "it belongs to no split"
        chosen.left_out += [LeftOut(file.name, why, expected) for file in splits[name]]
    chosen.splits = {"train": [file for split in train for file in splits[split]]}
    if evaluation is not None:
        chosen.splits["eval"] = splits[evaluation]
    chosen.left_out.sort(key=lambda file: file.name)
    return chosen


def _root(folder: Path, subset: str | None) -> Path:
    """The folder itself, or the only folder in it, as in an archive, unless it is the subset."""
    while True:
        inside = [path for path in folder.iterdir() if not is_hidden(PurePath(path.name))]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name == subset:
            return folder
        folder = inside[0]


def _refuse_a_table_with_a_log(folder: Path, name: str) -> None:
    for mark, what in (("_delta_log", "Delta Lake"), (".hoodie", "Hudi")):
        if (folder / mark).is_dir():
            raise DatasetError(
                f"The folder {name!r} is a {what} table: its log says which of its files count.",
                "Export its rows as Parquet into a folder of their own.",
            )


def _splits_of(
    folder: Path, name: str, unpacker: Unpacker, choice: Choice, chosen: Chosen
) -> dict[str, list[DataFile]]:
    below = list(_files_below(folder, chosen))
    files, listed = _subset(folder, name, below, choice, chosen)
    if listed is None:
        files = [file for file in files if _is_read(file, chosen)]
    unpacked = [DataFile(unpacker.unpacked(file.path, file.name), file.name) for file in files]
    files = [inner for file in unpacked for inner in _one_or_its_files(file, chosen)]
    if listed is None:
        files = _without_neighbours(files, chosen)
    if not files:
        raise _nothing_there(name, chosen.left_out)
    if listed is not None and "" not in listed:
        return {
            split: [file for file in files if _is_of(file, set(names))]
            for split, names in listed.items()
        }
    splits, note = by_split(files, name, told=bool(choice.split))
    chosen.notes += [note] if note else []
    return splits


def _files_below(folder: Path, chosen: Chosen) -> Iterator[DataFile]:
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_dir() or is_hidden(relative):
            continue
        if path.is_file():
            yield DataFile(path, str(relative))
        else:
            what = "a link that leads nowhere" if path.is_symlink() else "no plain file"
            chosen.left_out.append(LeftOut(str(relative), f"it is {what}"))


def _is_of(file: DataFile, names: set[str]) -> bool:
    """Whether a file, or the archive that it was in, is one of ``names``."""
    return file.name in names or any(str(above) in names for above in PurePath(file.name).parents)


def _subset(
    folder: Path, name: str, files: list[DataFile], choice: Choice, chosen: Chosen
) -> tuple[list[DataFile], dict[str, list[str]] | None]:
    """The files of the subset that is meant, and (of a card) their names by split."""
    subsets = card.subsets_of(card.card_of(folder))
    subset = card.chosen_subset(subsets, choice.subset, name)
    if subset is None:
        if choice.subset is None:
            return files, None
        inside = [file for file in files if PurePath(file.name).parts[0] == choice.subset]
        if not inside:
            folders = {PurePath(file.name).parts[0] for file in files if "/" in file.name}
            known = [subset.name for subset in subsets] or sorted(folders)
            raise card.no_such_subset(choice.subset, known, name)
        return inside, None
    if not subset.patterns:
        return files, None
    listed = subset.files_of([file.name for file in files], name)
    wanted = {each for names in listed.values() for each in names}
    others = [each.name for each in subsets if each is not subset]
    if others and choice.subset is None:
        chosen.notes.append(
            f"The subset {subset.name!r} is used, which the card of the data set makes the "
            f"default; config.data.subset chooses another: {', '.join(others[:50])}."
        )
    why = f"it is not of the subset {subset.name!r}" if others else "the card names other files"
    chosen.left_out += [
        LeftOut(file.name, why, True)
        for file in files
        if file.name not in wanted and is_data_file(PurePath(file.name))
    ]
    return [file for file in files if file.name in wanted], listed


def _is_read(file: DataFile, chosen: Chosen) -> bool:
    """Whether a file's name is that of a file of data; else it is left out."""
    path = PurePath(file.name)
    if is_data_file(path) or (is_about(path) and _is_list_of_rows(file)):
        return True
    if is_about(path):
        chosen.left_out.append(LeftOut(file.name, "it tells of the data", True))
    elif is_surely_no_data(path):
        chosen.left_out.append(LeftOut(file.name, "it is no file of data", True))
    else:
        chosen.left_out.append(LeftOut(file.name, _why_not(file)))
    return False


def _why_not(file: DataFile) -> str:
    kind = magic_bytes.kind_of_file(file.path)
    if kind is not None:
        return f"it is {kind.what}"
    path = PurePath(file.name)
    if any(part.startswith("_") for part in path.parts):
        return "its name begins with an underscore"
    return f"no format of data is called {path.suffix}" if path.suffix else "it has no suffix"


def _one_or_its_files(file: DataFile, chosen: Chosen) -> Iterator[DataFile]:
    """A file, or those of an archive that was unpacked into a folder."""
    if file.path.is_file():
        yield file
        return
    for path in sorted(file.path.rglob("*")):
        relative = path.relative_to(file.path)
        inner = DataFile(path, f"{file.name}/{relative}")
        if path.is_file() and not is_hidden(relative) and _is_read(inner, chosen):
            yield inner


def _without_neighbours(files: Sequence[DataFile], chosen: Chosen) -> list[DataFile]:
    """Without notes and settings that lie beside files of rows, and are none themselves."""
    rows = {file.name for file in files if not _is_prose(file) and not _is_settings(file)}
    if not rows:
        return list(files)
    kept = []
    for file in files:
        if file.name in rows:
            kept.append(file)
        else:
            what = "plain text" if _is_prose(file) else "one JSON object with no column of a row"
            chosen.left_out.append(LeftOut(file.name, f"it is {what}, beside files of rows"))
    return kept


def _is_prose(file: DataFile) -> bool:
    if format_of_suffix(file.path.suffix.lower()) != "text":
        return False
    head = magic_bytes.head_of(file.path)
    is_utf_16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))  # Excel's "Unicode Text", say
    return not is_utf_16 and not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))


def _is_settings(file: DataFile) -> bool:
    value = _small_json(file)
    return isinstance(value, dict) and not makes_a_row(value) and not list_of_rows(value)


def _is_list_of_rows(file: DataFile) -> bool:
    """Whether a file is a list of rows all the same, though it is named like settings."""
    value = _small_json(file)
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and makes_a_row(first)


def _small_json(file: DataFile) -> Any:
    """The value in a small file of JSON; None for another file, or for broken JSON."""
    if file.path.suffix.lower() != ".json" or file.path.stat().st_size > _LARGEST_SETTINGS:
        return None
    try:
        return json.loads(file.path.read_bytes())
    except (ValueError, RecursionError):
        return None  # the reader says what is wrong with it


def _nothing_there(name: str, left_out: Sequence[LeftOut]) -> DatasetError:
    missed = [f"{file.name} ({file.why})" for file in left_out if not file.expected]
    there = f" Left out: {', '.join(missed[:5])}." if missed else ""
    return DatasetError(
        f"The folder {name!r} holds no file of data.{there}",
        "Name one file, or a folder of CSV, JSON, Parquet, Arrow or text files.",
    )
