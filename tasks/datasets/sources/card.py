"""Data set card: the configurations ("subsets") that a README.md names, and their files.

https://huggingface.co/docs/hub/datasets-manual-configuration
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import DatasetError

CARD_NAME = "README.md"
_LARGEST_CARD = 4 * 1024 * 1024
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|[^*?\[]+|\[")
_CHOOSE = "Name one in config.data.subset, as in {name!r}."


@dataclass(frozen=True)
class Subset:
    """One configuration: ``patterns`` maps a split to the patterns of its files.

    The split is empty where the card names none. Without patterns all files are meant.
    """

    name: str
    patterns: dict[str, list[str]]
    is_default: bool = False

    def files_of(self, names: Sequence[str], source: str) -> dict[str, list[str]]:
        """Split → those of ``names`` (paths from the card's folder) that belong to it.

        Raises DatasetError where a pattern fits none: rows would be missing unseen.
        """
        found: dict[str, list[str]] = {}
        for split, patterns in self.patterns.items():
            for pattern in patterns:
                fits = _matching(pattern, names)
                if not fits:
                    raise DatasetError(
                        f"The card of {source!r} names {pattern!r} for the subset {self.name!r}, "
                        "but no such file is there.",
                        "Fetch the file, or mend data_files in the front matter of README.md.",
                    )
                listed = found.setdefault(split, [])
                listed += [name for name in fits if name not in listed]
        return found


def card_of(folder: Path) -> Any:
    """The front matter of a folder's card; None if it has none. Raises DatasetError."""
    path = folder / CARD_NAME
    if not path.is_file() or path.stat().st_size > _LARGEST_CARD:
        return None
    found = _FRONT_MATTER.match(path.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        return None
    try:
        return yaml.safe_load(found.group(1))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"The card of {folder.name!r} (README.md) has a front matter that is no YAML: {reason}",
            "Mend it, or move README.md away: it may name the files that count.",
        ) from error


def subsets_of(card: Any) -> list[Subset]:
    """The configurations that a card lists."""
    configs = card.get("configs") if isinstance(card, dict) else None
    return [
        Subset(
            str(config.get("config_name", "default")),
            _patterns(config.get("data_files"), str(config.get("data_dir") or "")),
            config.get("default") is True,
        )
        for config in (configs if isinstance(configs, list) else ())
        if isinstance(config, dict)
    ]


def _patterns(data_files: Any, folder: str) -> dict[str, list[str]]:
    if data_files is None:
        return {"": [f"{folder}/**"]} if folder.strip("./") else {}
    found: dict[str, list[str]] = {}
    if isinstance(data_files, dict):
        data_files = [{"split": split, "path": path} for split, path in data_files.items()]
    for entry in data_files if isinstance(data_files, list) else [data_files]:
        split, paths = ("", entry)
        if isinstance(entry, dict):
            split, paths = str(entry.get("split", "")), entry.get("path")
        for path in paths if isinstance(paths, list) else [paths]:
            found.setdefault(split, []).append(f"{folder}/{path}" if folder else str(path))
    return found


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that a pattern, or the folder that it names, holds."""
    clean = re.sub(r"^(?:\./)+|/+$", "", re.sub(r"/(?:\./|/)+", "/", pattern))
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    regex = "".join(
        parts.get(part) or (_characters(part) if part[0] == "[" else re.escape(part))
        for part in _GLOB.findall(clean)
    )
    below = "" if set("*?[") & set(clean) else "(?:/.*)?"
    return [name for name in names if re.fullmatch(regex + below, name)]


def _characters(part: str) -> str:
    """``[a-z]`` or ``[!a]`` of a pattern as a regular expression; other brackets as they stand."""
    regex = part.replace("[!", "[^", 1)
    try:
        re.compile(regex)
    except re.error:
        return re.escape(part)
    return regex


def chosen_subset(subsets: Sequence[Subset], wanted: str | None, source: str) -> Subset | None:
    """The subset that is meant; None if the card names none. Raises DatasetError."""
    if wanted is not None:
        return next((subset for subset in subsets if subset.name == wanted), None)
    if len(subsets) < 2:
        return subsets[0] if subsets else None
    marked = [subset for subset in subsets if subset.is_default]
    plain = [subset for subset in subsets if subset.name == "default"]
    if not marked and not plain:
        names = ", ".join(subset.name for subset in subsets[:50])
        raise DatasetError(
            f"The data set {source!r} has several subsets, and no default: {names}.",
            _CHOOSE.format(name=subsets[0].name),
        )
    return (marked or plain)[0]


def no_such_subset(wanted: str, known: Sequence[str], source: str) -> DatasetError:
    """The error for a subset that is neither in the card nor a folder."""
    listed = ", ".join(known[:50]) or "none"
    return DatasetError(
        f"The data set {source!r} has no subset {wanted!r}; it has {listed}.",
        _CHOOSE.format(name=known[0]) if known else "Leave out config.data.subset.",
    )
