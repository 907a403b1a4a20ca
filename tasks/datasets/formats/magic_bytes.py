"""Magic bytes of files: what each that is no data set is, and how its rows are got out of it.

A format that gets a reader leaves ``_PATTERNS`` for ``table.py``.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from tasks.datasets.formats.table import FILE_FORMATS, PACKINGS
from tasks.errors import DatasetError

HEAD_BYTES = 64 * 1024
READABLE = "CSV, JSON lines or Parquet"
_SAVE = f"Save its rows as {READABLE}."
_SAVE_SHEET = "Save the sheet as CSV (UTF-8)."
_SAVE_TEXT = "Save its text as plain text (UTF-8)."
_UNPACK = "Unpack it, and name the file or the folder that was in it."
_CONVERT = f"Load it with the library that wrote it, and write its rows as {READABLE}."
_NEVER_OPENED = "a Python pickle, which is never opened: it can run code"
_TENSORS = "A data set has rows of text: name its file or folder instead."
_MEDIA = "This trains text: name the file or the folder that holds it."
_BINARY = r"(?=.{0,4000}?[\x00-\x08\x0e-\x1f])"
"""After letters that a text may begin with, too."""


@dataclass(frozen=True)
class Kind:
    """What a file is, and what to do with it."""

    what: str
    mend: str = _SAVE


_PATTERNS: tuple[tuple[str, Kind], ...] = (
    (
        r"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/",
        Kind(
            "a Git LFS pointer, not the data itself",
            "Run 'git lfs pull' in its repository, or download the file.",
        ),
    ),
    (
        r"/annex/objects/|\.\./.{0,200}\.git/annex/objects/",
        Kind("a git-annex pointer, not the data itself", "Run 'git annex get' in its repository."),
    ),
    (
        r"(?:wdir: .{1,200}\n)?(?:md5: \w+\n)?outs:\n *- (?:md5|hash|etag|size)",
        Kind("a DVC pointer, not the data itself", "Run 'dvc pull' in its repository."),
    ),
    (r"# xet version ", Kind("a Xet pointer, not the data itself", "Download the file itself.")),
    (r"%PDF-", Kind("a PDF document", _SAVE_TEXT)),
    (r"%!PS", Kind("a PostScript document", _SAVE_TEXT)),
    (r"\{\\rtf", Kind("an RTF document", _SAVE_TEXT)),
    (
        r"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        Kind("an old Office document (Excel's .xls, Word's .doc)", "Save it as CSV or plain text."),
    ),
    (r"SQLite format 3\0", Kind("an SQLite database", "Export the table as CSV.")),
    (r"\0\x01\0\0Standard (?:Jet|ACE) DB", Kind("an Access database", "Export the table as CSV.")),
    (r".{8}DUCK.\0{7}", Kind("a DuckDB database", "Export the table as Parquet (COPY ... TO).")),
    (r"\x80[\x02-\x05]", Kind(_NEVER_OPENED, _CONVERT)),
    (
        r"\([ld]p?\d*\n|[\]}]q\0|c(?:copy_reg|copyreg|__builtin__|builtins|collections|_codecs|datetime"
        r"|(?:numpy|pandas|torch)[\w.]*)\n\w+\n",
        Kind(_NEVER_OPENED, _CONVERT),
    ),
    (r"x[\x01\x9c\xda](?=.{0,500}[\x00-\x08\x80-\xff])", Kind("zlib data (joblib?)", _CONVERT)),
    (r"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", _CONVERT)),
    (r"CDF[\x01\x02\x05]", Kind("a NetCDF file", _CONVERT)),
    (r"\x93NUMPY", Kind("a NumPy file", _CONVERT)),
    (r"MATLAB 5\.0 MAT-file", Kind("a MATLAB file", _CONVERT)),
    (r"(?:RD[ABX][234]\n)?[XAB]\n\0\0\0[\x02\x03]|RD[ABX][234]\n", Kind("an R file", _CONVERT)),
    (r"\$FL[23]@\(#\)", Kind("an SPSS file", _CONVERT)),
    (r"<stata_dta>|[\x71-\x73][\x01\x02]\x01\0", Kind("a Stata file", _CONVERT)),
    (
        r"\0{12}\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92\x08\x00\x09\xc7\x31\x8c",
        Kind("a SAS file", _CONVERT),
    ),
    (r"Obj\x01", Kind("an Avro file", _CONVERT)),
    (rf"ORC{_BINARY}", Kind("an ORC file", _CONVERT)),
    (r"SEQ[\x04-\x06]", Kind("a Hadoop sequence file", _CONVERT)),
    (
        rf"FEA1{_BINARY}",
        Kind("a Feather file of version 1", "Write it as version 2, or as Parquet."),
    ),
    (rf"PARE{_BINARY}", Kind("an encrypted Parquet file", "Write it without encryption.")),
    (r"GGUF[\x01-\x09]\0\0\0", Kind("a GGUF model", _TENSORS)),
    (r".{4}\0{4}\{\"", Kind("a safetensors file", _TENSORS)),
    (r"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", _UNPACK)),
    (r"Rar!\x1a\x07", Kind("a RAR archive", _UNPACK)),
    (r"MSCF\0\0\0\0", Kind("a cabinet archive", _UNPACK)),
    (r"\x04\x22\x4d\x18", Kind("an LZ4 file", _UNPACK)),
    (r"\xff\x06\0\0sNaPpY", Kind("a Snappy file", _UNPACK)),
    (r"\x1f[\x9d\xa0]", Kind("a file of compress (.Z)", _UNPACK)),
    (r"LZIP\x01", Kind("an lzip file", _UNPACK)),
    (r"\x5d\0\0.{2}\xff{8}|\x5d\0\0.{2}.{6}\0\0", Kind("an LZMA file", _UNPACK)),
    (r"\x89LZO\0\r\n", Kind("an lzop file", _UNPACK)),
    (r".{257}ustar", Kind("a tar archive", _UNPACK)),
    (r"-----BEGIN PGP MESSAGE|\x85[\x01-\x04]", Kind("an encrypted (PGP) file", "Decrypt it.")),
    (r"Salted__", Kind("an encrypted (OpenSSL) file", "Decrypt it.")),
    (
        r"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|BM.{4}\0{4}|RIFF.{4}WEBP|II\*\0|MM\0\*|\0\0\x01\0"
        r"|.{4}ftyp(?:avif|heic|heix|mif1)|8BPS|\0\0\0\x0cjP",
        Kind("an image", _MEDIA),
    ),
    (
        r"RIFF.{4}WAVE|ID3[\x02-\x04]|\xff[\xf1-\xfb][\x00-\xff]{2}(?=.*\0)|fLaC|OggS|FORM.{4}AIFF",
        Kind("a recording", _MEDIA),
    ),
    (r".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI |FLV\x01|\0\0\x01\xba", Kind("a video", _MEDIA)),
    (r"\x7fELF|MZ.{2}\0|\xfe\xed\xfa|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe|\0asm", Kind("a program")),
    (r"wOF[F2]|OTTO\0|\0\x01\0\0\0", Kind("a font")),
)
_COMPILED = tuple((re.compile(f"(?s:{p})".encode("latin-1")), kind) for p, kind in _PATTERNS)
_MARKUP = (
    (
        re.compile(
            rb"(?:<\?xml\s[^>]*>\s*|<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html"
            rb"|(?:html|head|body|meta|title|style|script|table)[\s>])",
            re.I | re.S,
        ),
        Kind("a web page", "Download the file itself, or save the page's text as plain text."),
    ),
    (
        re.compile(rb"<\?xml\s.{0,2000}?Worksheet|<\?mso-application", re.S),
        Kind("an Excel workbook (XML)", _SAVE_SHEET),
    ),
    (re.compile(rb"<\?xml\s|<!DOCTYPE\s|<svg\s"), Kind("an XML document")),
)

_PACKED_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"xl/(?:workbook|worksheets/)", Kind("an Excel workbook", _SAVE_SHEET)),
    (r"word/document", Kind("a Word document", _SAVE_TEXT)),
    (r"ppt/", Kind("a PowerPoint presentation", _SAVE_TEXT)),
    (r"Index/.*\.iwa$|index\.apxl$", Kind("an iWork document", "Export it as CSV or plain text.")),
    (r"META-INF/container\.xml$", Kind("an e-book (EPUB)", _SAVE_TEXT)),
    (r"META-INF/MANIFEST\.MF$", Kind("a Java archive")),
    (r"(?:.*/)?data\.pkl$", Kind("a PyTorch file: " + _NEVER_OPENED, _CONVERT)),
    (r"model\.weights\.h5$", Kind("a Keras model", _TENSORS)),
)
_OPEN_DOCUMENTS = {
    "spreadsheet": Kind("an OpenDocument spreadsheet", _SAVE_SHEET),
    "text": Kind("an OpenDocument text", _SAVE_TEXT),
    "": Kind("an OpenDocument file", "Save it as CSV or plain text."),
}

_PROMISES: dict[str, tuple[str, tuple[bytes, ...]]] = {
    suffix: (of.title, of.magics)
    for of in (*FILE_FORMATS.values(), *PACKINGS.values())
    for suffix in of.suffixes
    if of.magics
}
"""Suffix → what a file of that name is, and how each such file begins."""


def kind_of(head: bytes) -> Kind | None:
    """What a file with these first bytes is; None for one that may be data."""
    for pattern, kind in _COMPILED:
        if pattern.match(head):
            return kind
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16: enough of it for a tag
        start = head[2:8192].replace(b"\0", b"").lstrip()
    for pattern, kind in _MARKUP:
        if pattern.match(start):
            return kind
    return Kind("a TFRecord file", _CONVERT) if _is_tfrecord(head) else None


def kind_of_zip(names: Sequence[str], mimetype: bytes) -> Kind | None:
    """What a zip archive of these names is; None for a plain one.

    ``mimetype``: what its member of that name says.
    """
    if b"opendocument" in mimetype:
        found = next(name for name in _OPEN_DOCUMENTS if name.encode() in mimetype.split(b".")[-1])
        return _OPEN_DOCUMENTS[found]
    if names and all(name.endswith(".npy") for name in names):
        return Kind("a NumPy file", _CONVERT)
    for pattern, kind in _PACKED_KINDS:
        if any(re.match(pattern, name) for name in names):
            return kind
    return None


def kind_of_file(path: Path) -> Kind | None:
    """What a file is that nobody has opened yet; None for one that may be data."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return kind_of_zip(archive.namelist(), b"") or Kind("a zip archive")
    return kind_of(head_of(path))


def refuse(kind: Kind, name: str) -> DatasetError:
    """The error that names the file and what to do with it."""
    return DatasetError(f"The data set {name!r} is {kind.what}.", kind.mend)


def refuse_what_is_no_data(head: bytes, path: PurePath, name: str) -> None:
    """Raise DatasetError for a file that is none, or that its suffix calls what it is not."""
    kind = kind_of(head)
    if kind is None and path.suffix.lower() in (".yaml", ".yml"):
        kind = Kind("a YAML document", _SAVE)
    if kind is not None:
        raise refuse(kind, name)
    what, magics = _PROMISES.get(path.suffix.lower(), ("", ()))
    if not what or head.startswith(magics) or _is_packed_inside(head, path):
        return
    raise DatasetError(
        f"The data set {name!r} is called {path.suffix}, but is no {what} file"
        + (": it is empty." if not head else "."),
        "Copy or download it again, or give it the suffix of what it is.",
    )


def _is_packed_inside(head: bytes, path: PurePath) -> bool:
    """pandas names ``a.parquet.gzip`` a Parquet file whose columns are packed by gzip."""
    _, magics = _PROMISES.get(PurePath(path.stem).suffix.lower(), ("", (b"\0none",)))
    return head.startswith(magics)


def head_of(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _is_tfrecord(head: bytes) -> bool:
    """Records of a length (8 bytes), its checksum (4), that many bytes and theirs (4)."""
    length = int.from_bytes(head[:8], "little")
    if not 0 < length < 1 << 32 or len(head) < 12:
        return False
    return _masked_crc32c(head[:8]) == int.from_bytes(head[8:12], "little")


def _masked_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
