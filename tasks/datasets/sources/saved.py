"""Folders that ``save_to_disk`` of the library datasets writes: a Dataset or a DatasetDict."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

from tasks.datasets.sources.splits import DataFile
from tasks.errors import DatasetError

_OF_SPLITS, _OF_ONE = "dataset_dict.json", "state.json"


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote the folder."""
    return (folder / _OF_SPLITS).exists() or (folder / _OF_ONE).exists()


def saved_splits(folder: Path) -> dict[str, list[DataFile]]:
    """Split → its Arrow files; a Dataset is ``train``. Raises DatasetError."""
    if not (folder / _OF_SPLITS).exists():
        return {"train": _saved_files(folder, "")}
    names = _plain_names(folder, _json_of(folder / _OF_SPLITS).get("splits"))
    return {split: _saved_files(folder / split, f"{split}/") for split in names}


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
