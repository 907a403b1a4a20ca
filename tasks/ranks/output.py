"""Output of the ranks beyond the first, line by line with the rank's name before each."""

from __future__ import annotations

import os
import selectors
import sys
import threading

_READ_BYTES = 65536
_LINE_BYTES_MAX = 65536
_WORD_BYTES_MAX = 8192
_DRAIN_TIMEOUT_S = 5.0


class RankOutput:
    """One pipe per rank beyond the first; a thread of the launching process empties them.

    The thread reads and writes descriptors and holds no lock while a rank is forked. Pipes, so
    that what native code prints, a crash's stacks too, is named like all else.
    """

    def __init__(self, count: int) -> None:
        self._pipes = {index: os.pipe() for index in range(1, count)}
        self._thread = threading.Thread(target=self._run, name="rank-output", daemon=True)

    def start(self) -> None:
        """Start emptying the pipes."""
        self._thread.start()

    def connect(self, index: int) -> None:
        """In rank ``index``: its standard output and error go through its pipe from now on."""
        for other, (read_end, write_end) in self._pipes.items():
            os.close(read_end)
            if other == index:
                os.dup2(write_end, 1)
                os.dup2(write_end, 2)
            os.close(write_end)
        if index in self._pipes:
            # The old objects may believe that they write to a file, and seek.
            sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
            sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)

    def finish(self) -> None:
        """When every rank is gone: write out what is left."""
        for _, write_end in self._pipes.values():
            os.close(write_end)
        self._thread.join(_DRAIN_TIMEOUT_S)

    def _run(self) -> None:
        rest = dict.fromkeys(self._pipes, b"")
        with selectors.DefaultSelector() as selector:
            for index, (read_end, _) in self._pipes.items():
                selector.register(read_end, selectors.EVENT_READ, index)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, _READ_BYTES)
                    lines, rest[key.data] = _whole_lines(rest[key.data] + data, at_end=not data)
                    _write_all(b"".join(b"[rank %d] %s\n" % (key.data, line) for line in lines))
                    if not data:
                        selector.unregister(key.fd)
                        os.close(key.fd)


def _whole_lines(text: bytes, *, at_end: bool) -> tuple[list[bytes], bytes]:
    """The lines that are whole, and what is left; an endless line is broken."""
    *lines, rest = text.split(b"\n")
    if rest and at_end:
        return [*lines, rest], b""
    if len(rest) > _LINE_BYTES_MAX:
        # Between two words: what takes secrets out of lines would not know one by its halves.
        space = rest.rfind(b" ", len(rest) - _WORD_BYTES_MAX)
        place = len(rest) if space < 0 else space
        return [*lines, rest[:place]], rest[place + 1 :]
    return lines, rest


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
