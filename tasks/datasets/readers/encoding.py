"""Encoding of a file of text, and the same text as UTF-8."""

from __future__ import annotations

import codecs
import logging
import re
from pathlib import Path

from tasks.errors import DatasetError
from trainyard.contract.error_tree import Interruption

_BLOCK_BYTES = 4 * 1024 * 1024
_UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
"""Bytes that no character of Windows-1252 has."""
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_CONTROLS = bytes({*range(32)} - {*b"\t\n\r\f\v\b\x1b"})
_FEW_CONTROLS = 16
_CONTROLS_OF_TEXT = 0.02
"""Share of control characters that a text may have; binary files have a tenth and more."""
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}

logger = logging.getLogger(__name__)


class NotUtf8(Interruption):
    """A file that was read as UTF-8 is not: read it again by what :func:`eight_bit_of` says."""


def encoding_of_head(head: bytes) -> str | None:
    """Python's name of the encoding, from a file's first bytes; None for what is no text.

    UTF-16 without a mark shows by its NUL bytes. What is not seen here is taken for UTF-8, until
    reading proves otherwise; a control character here and there does not make a text binary.
    """
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    odd, even = head[1::2].count(0), head[::2].count(0)
    if odd > 0.4 * len(head) / 2 and even < odd / 10:
        return "utf-16-le"
    if even > 0.4 * len(head) / 2 and odd < even / 10:
        return "utf-16-be"
    return None if _is_binary(head) else "utf-8"


def _is_binary(head: bytes) -> bool:
    """Whether control characters stand everywhere, and not in a few lines."""
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls <= _FEW_CONTROLS or controls < _CONTROLS_OF_TEXT * len(head):
        return False
    lines = head.splitlines()
    return 2 * sum(len(line) != len(line.translate(None, _CONTROLS)) for line in lines) > len(lines)


def eight_bit_of(path: Path) -> str | None:
    """``cp1252`` for a file that is text in Latin-1 or Windows-1252; None for damaged UTF-8.

    In Latin text single letters above ASCII stand among ASCII letters. Other 8-bit encodings
    (Cyrillic, Chinese, Japanese) have long runs of high bytes: those are refused, because a guess
    between them would be silently wrong. Raises DatasetError.
    """
    short = long = multibyte = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            for run in _HIGH_RUN.findall(block):
                if _is_utf8(run):
                    multibyte += 1
                elif len(run) <= 3 and not _UNDEFINED.search(run):
                    short += 1
                else:
                    long += 1
    if multibyte > short + long:
        return None
    if long * 20 > short:
        raise DatasetError(
            f"The data set {path.name!r} is neither UTF-8 nor Latin-1 text.", "Save it as UTF-8."
        )
    logger.warning("%r is no UTF-8 text: read as Latin-1 (Windows-1252)", path.name)
    return "cp1252"


def _is_utf8(run: bytes) -> bool:
    try:
        run.decode()
    except UnicodeDecodeError:
        return False
    return True


def write_as_utf8(source: Path, target: Path, encoding: str, name: str) -> None:
    """Write the text of ``source`` to ``target`` as UTF-8 without a mark. Raises DatasetError."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with source.open("rb") as file, target.open("wb") as out:
            while block := file.read(_BLOCK_BYTES):
                out.write(decoder.decode(block).encode())
            out.write(decoder.decode(b"", final=True).encode())
    except UnicodeError as error:
        raise DatasetError(
            f"The data set {name!r} is damaged {encoding.upper()} text: {error}",
            "Save it as UTF-8.",
        ) from error
