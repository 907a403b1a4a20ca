"""Names of files: those of data, those about it, and those that have nothing to do with it."""

from __future__ import annotations

import re
from pathlib import PurePath

from tasks.datasets.formats.table import DATA_SUFFIXES, PACKED_SUFFIXES

_ABOUT_THE_DATA = re.compile(
    r"(?:readme|licen[cs]e|changelog|contributing|notice|authors|citation|code_of_conduct|security)"
    r"(?:[-_.][a-z]{2}(?:[-_][a-z]{2})?)?(?:\.(?:md|markdown|txt|text|rst|json|cff|bib|html|pdf))?"
)
_SETTINGS = re.compile(
    r"(?:(?:[a-z_]*_)?config|configs?|settings|metadata|meta|manifest|schema|info|package|tsconfig"
    r"|package-lock|state|trainer_state|tokenizer|vocab|added_tokens|special_tokens_map"
    r"|dataset_infos?|dataset_dict|data_info|croissant|stats|statistics|index)\.json"
    r"|(?:requirements[\w-]*|robots|checksums?|sha256sums?|md5sums?|merges|vocab)\.txt"
)
_NO_DATA = frozenset(
    (
        *(".py", ".ipynb", ".sh", ".bat", ".js", ".ts", ".c", ".h", ".cpp", ".java", ".r", ".rs"),
        *(".yaml", ".yml", ".toml", ".ini", ".cfg", ".lock", ".log", ".css", ".rst", ".bib"),
        *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".ico", ".mp3", ".wav", ".mp4"),
        *(".md5", ".sha1", ".sha256", ".sha512", ".sig", ".asc", ".crc", ".cff", ".incomplete"),
    )
)


def is_hidden(path: PurePath) -> bool:
    """Whether a file is the file system's or a program's own, by its name or a folder's."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def is_data_file(path: PurePath) -> bool:
    """Whether a file of a folder is read, by its name below that folder."""
    if is_hidden(path) or any(part.startswith("_") for part in path.parts) or is_about(path):
        return False
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if not suffixes or suffixes[-1] not in PACKED_SUFFIXES:
        return bool(suffixes) and suffixes[-1] in DATA_SUFFIXES
    return suffixes[-1] == ".zip" or len(suffixes) == 1 or suffixes[-2] in DATA_SUFFIXES


def is_about(path: PurePath) -> bool:
    """Whether a file tells of the data or of a program, and holds none."""
    name = path.name.lower()
    return bool(_ABOUT_THE_DATA.fullmatch(name) or _SETTINGS.fullmatch(name))


def is_surely_no_data(path: PurePath) -> bool:
    """Whether nobody would miss the rows of a file that is left out."""
    empty_marks = path.name.startswith("_") and not path.suffix
    return is_about(path) or empty_marks or path.suffix.lower() in _NO_DATA


def plain_stem(name: str) -> str:
    """A file's name without the suffixes of its format and its packing."""
    stem = PurePath(name)
    while stem.suffix.lower() in DATA_SUFFIXES or stem.suffix.lower() in PACKED_SUFFIXES:
        stem = stem.with_suffix("")
    return stem.name
