"""Multipart forms (RFC 7578), read as they come: a file is written while it arrives.

No part is held in memory but the small fields.
"""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message

from trainyard.contract.error_tree import TrainyardError

_HEADERS_MAX, _FIELD_MAX, _PARTS_MAX, _BOUNDARY_MAX = 8192, 4096, 16, 70
_CONTENT_TYPE_MAX = 512


class MalformedForm(TrainyardError):
    """A body that is no form, or no whole one."""


class Form:
    """A form on its way. ``fields``: those that have come whole, by name.

    ``write`` takes the bytes of the part ``file`` as they come, ``filename`` is its name.
    """

    def __init__(self, content_type: str, write: Callable[[bytes], None]) -> None:
        """Raises MalformedForm for another content type."""
        header = Message()
        header["content-type"] = content_type[:_CONTENT_TYPE_MAX]  # long ones take it seconds
        boundary = header.get_param("boundary")
        if header.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
            raise MalformedForm("send the file as multipart/form-data")
        if not 0 < len(boundary) <= _BOUNDARY_MAX or not boundary.isascii():
            raise MalformedForm("the boundary of the form is none")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._write = write
        self._delimiter = b"\r\n--" + boundary.encode()
        self._buffer = bytearray(b"\r\n")  # the first delimiter has no line before it
        self._step: Callable[[], bool] = self._begin
        self._name = ""
        self._value = bytearray()
        self._parts = 0

    @property
    def is_whole(self) -> bool:
        """Whether the last delimiter has come."""
        return self._step == self._end

    def feed(self, data: bytes) -> None:
        """More of the body. Raises MalformedForm."""
        self._buffer += data
        while self._step():
            pass

    def _begin(self) -> bool:
        if len(self._buffer) < len(self._delimiter):
            return False
        if not self._buffer.startswith(self._delimiter):
            raise MalformedForm("the form does not begin with its boundary")
        self._take(len(self._delimiter))
        self._step = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        if len(self._buffer) < 2:
            return False
        mark = self._take(2)
        if mark not in (b"--", b"\r\n"):
            raise MalformedForm("a boundary of the form stands in the middle of a line")
        self._step = self._end if mark == b"--" else self._headers
        return True

    def _headers(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > _HEADERS_MAX:
            if len(self._buffer) > _HEADERS_MAX:
                raise MalformedForm("a part of the form has too many headers")
            return False
        self._open(self._take(end + 4)[:-4].decode("utf-8", "replace"))
        self._step = self._content
        return True

    def _open(self, headers: str) -> None:
        self._parts += 1
        lines = (line.partition(":") for line in headers.split("\r\n"))
        found = {name.strip().lower(): value.strip() for name, _, value in lines}
        header = Message()
        header["content-disposition"] = found.get("content-disposition", "")
        try:
            name = header.get_param("name", header="content-disposition")
            filename = header.get_filename() or ""
        except (ValueError, TypeError):  # charsets and numbers of RFC 2231 that are none
            raise MalformedForm("a part of the form has a header that cannot be read") from None
        if not isinstance(name, str) or self._parts > _PARTS_MAX:
            raise MalformedForm("a part of the form has no name, or there are too many")
        if name == "file" and self.filename is not None:
            raise MalformedForm("the form has two files")
        self._name, self._value = name, bytearray()
        if name == "file":
            self.filename = filename.encode(errors="replace").decode()  # UTF-7 brings surrogates

    def _content(self) -> bool:
        end = self._buffer.find(self._delimiter)
        ended = end >= 0
        self._add(self._take(end if ended else max(len(self._buffer) - len(self._delimiter), 0)))
        if ended:
            if self._name != "file":
                self.fields[self._name] = self._value.decode("utf-8", "replace")
            self._take(len(self._delimiter))
            self._step = self._after_delimiter
        return ended

    def _add(self, data: bytes) -> None:
        if self._name == "file":
            self._write(data)
            return
        self._value += data
        if len(self._value) > _FIELD_MAX:
            raise MalformedForm(f"the field {self._name!r} of the form is too long")

    def _end(self) -> bool:
        self._buffer.clear()
        return False

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken
