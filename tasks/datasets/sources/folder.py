"""Which files of a source train and which evaluate."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from tasks.datasets.sources.unpack import Unpacker
from tasks.errors import DatasetError

TRAIN_NAMES = ("train", "training")
EVAL_NAMES = ("validation", "eval", "evaluation", "valid", "val", "dev", "test")
"""In the order in which they are preferred: a test split evaluates where there is no other."""

_TABLES = (".csv", ".tsv", ".tab", ".psv", ".parquet", ".arrow", ".feather", ".ipc")
DATA_SUFFIXES = frozenset((*_TABLES, ".json", ".jsonl", ".ndjson", ".txt", ".text"))
_PACKED_SUFFIXES = frozenset((".gz", ".zst", ".xz", ".zip"))
_SPLIT_IN_NAME = re.compile(rf"(?:^|[-_. ])({'|'.join((*TRAIN_NAMES, *EVAL_NAMES))})(?:[-_. ]|$)")
_ABOUT_THE_DATA = ("readme", "license", "licence", "dataset_info", "dataset_infos", "changelog")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataFile:
    """A file to read. ``name`` is what people know it by: its path below the source."""

    path: Path
    name: str


def data_files(source: DataFile, unpacker: Unpacker) -> dict[str, list[DataFile]]:
    """Split (``train`` and, where there is one, ``eval``) → its files, unpacked, in order.

    Raises DatasetError.
    """
    source = _unpacked(source, unpacker)
    folder, name = source.path, source.name
    if folder.is_file():
        return {"train": [source]}
    if (folder / "dataset_dict.json").exists():
        names = _plain_names(folder, _json_of(folder / "dataset_dict.json").get("splits"))
        found = {split: _saved_files(folder / split, f"{split}/") for split in names}
        return _train_and_eval(found, name)
    if (folder / "state.json").exists():
        return {"train": _saved_files(folder, "")}
    files = [_unpacked(file, unpacker) for file in _files_below(folder)]
    files = [inner for file in files for inner in _one_or_its_files(file)]
    if not files:
        raise DatasetError(
            f"The folder {name!r} holds no file of data.",
            "Name one file, or a folder of CSV, JSON, Parquet, Arrow or text files.",
        )
    return _train_and_eval(_by_split(files, name), name)


def _unpacked(file: DataFile, unpacker: Unpacker) -> DataFile:
    return DataFile(unpacker.unpacked(file.path, file.name), file.name)


def _one_or_its_files(file: DataFile) -> Iterator[DataFile]:
    if file.path.is_file():
        yield file
    else:
        for inner in _files_below(file.path):
            yield DataFile(inner.path, f"{file.name}/{inner.name}")


def _files_below(folder: Path) -> list[DataFile]:
    """The files of data in a folder, in order of their names; others are named in the log."""
    found: list[DataFile] = []
    left_out: list[str] = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or _is_hidden(relative):
            continue
        if is_data_file(relative):
            found.append(DataFile(path, str(relative)))
        elif not path.name.lower().startswith(_ABOUT_THE_DATA):
            left_out.append(str(relative))
    if left_out:
        logger.warning("Left out, being no files of data: %s", ", ".join(left_out[:20]))
    return found


def is_data_file(path: PurePath) -> bool:
    """Whether a file of a folder is read, by its name below that folder."""
    if _is_hidden(path) or path.name.lower().startswith(_ABOUT_THE_DATA):
        return False
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if not suffixes or suffixes[-1] not in _PACKED_SUFFIXES:
        return bool(suffixes) and suffixes[-1] in DATA_SUFFIXES
    return suffixes[-1] == ".zip" or len(suffixes) == 1 or suffixes[-2] in DATA_SUFFIXES


def _is_hidden(path: PurePath) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _by_split(files: list[DataFile], name: str) -> dict[str, list[DataFile]]:
    """Files by the split that their names tell; none telling any, all are ``train``."""
    by_split: dict[str, list[DataFile]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.name), []).append(file)
    if "" in by_split and len(by_split) > 1:
        raise DatasetError(
            f"In the folder {name!r} some files are named after a split "
            f"({', '.join(sorted(filter(None, by_split)))}), but {by_split[''][0].name!r} is not.",
            "Name every file after its split (train-..., validation-...), or none.",
        )
    return {"train": by_split[""]} if "" in by_split else by_split


def _split_of(name: str) -> str:
    """``train``, ``validation`` and so on, told by the file's name, else by its folder's."""
    for part in reversed(Path(name.lower()).parts):
        found = _SPLIT_IN_NAME.search(part)
        if found:
            return found.group(1)
    return ""


def _train_and_eval(splits: dict[str, list[DataFile]], name: str) -> dict[str, list[DataFile]]:
    train = [split for split in TRAIN_NAMES if split in splits]
    if not train and len(splits) == 1:
        train = list(splits)
    if not train:
        raise DatasetError(
            f"The data set folder {name!r} has the splits {sorted(splits)}, none of them 'train'.",
            "Name the file or the folder of one split.",
        )
    evaluation = [split for split in EVAL_NAMES if split in splits and split not in train]
    unused = sorted(set(splits) - set(train) - set(evaluation[:1]))
    if unused:
        logger.info("Splits that are not used: %s", ", ".join(unused))
    chosen = {"train": [file for split in train for file in splits[split]]}
    if evaluation:
        chosen["eval"] = splits[evaluation[0]]
    return chosen


def _saved_files(folder: Path, prefix: str) -> list[DataFile]:
    """The Arrow files of ``save_to_disk``, in the order of its state. Raises DatasetError."""
    state = _json_of(folder / "state.json")
    listed = state.get("_data_files")
    names = _plain_names(
        folder, [entry.get("filename") for entry in listed] if isinstance(listed, list) else None
    )
    if state.get("_indices_data_files"):  # old versions kept the order of rows apart
        raise _damaged(folder)
    files = [DataFile(folder / name, prefix + name) for name in names]
    if not all(file.path.is_file() for file in files):
        raise _damaged(folder)
    return files


def _plain_names(folder: Path, names: Any) -> list[str]:
    """Names of entries of ``folder`` itself: what is written there may not lead out of it."""
    if not isinstance(names, list) or not all(
        isinstance(name, str) and PurePath(name).name == name for name in names
    ):
        raise _damaged(folder)
    return names


def _json_of(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise _damaged(path.parent) from None
    if not isinstance(value, dict):
        raise _damaged(path.parent)
    return value


def _damaged(folder: Path) -> DatasetError:
    return DatasetError(
        f"The data set folder {folder.name!r} is damaged: it is not what save_to_disk writes.",
        "Write it again with save_to_disk.",
    )
