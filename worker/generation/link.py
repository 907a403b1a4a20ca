"""Link of a worker to the process that generates: questions in, pieces of answers out."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections import deque
from collections.abc import Iterator

from pydantic import TypeAdapter

from trainyard.contract.generation.messages import CANCEL, GenerationSpec, Said
from trainyard.settings import Settings
from worker.slot import WorkerSlot
from worker.slot_process.client import KeeperHandle
from worker.slot_process.protocol import Started
from worker.supervisor.output_lines import LineSplitter
from worker.supervisor.training_link import SLOT_START_TIMEOUT_S, listen_to_output, open_ends

ENTRY = "tasks.generation.process:main"
LINES_KEPT = 20
"""Of what the process prints, for the log in case that it dies."""
_READ_BYTES = 1 << 18
_SAID = TypeAdapter[Said](Said)


@contextlib.contextmanager
def start_generating(settings: Settings, slot: WorkerSlot, name: str) -> Iterator[GenerationLink]:
    """Start the process through the slot process; leaving ends whatever still lives of it.

    It has no secret: what it loads was fetched when the job was trained. Raises SlotUnavailable.
    """
    options = {"timeout_s": SLOT_START_TIMEOUT_S, "preload": settings.preload, "entry": ENTRY}
    with open_ends(slot.socket_name, name, {}, **options) as ends:
        yield GenerationLink(*ends)


class GenerationLink:
    """Asks, and reads what is said. ``gone``: the process has ended, or was never started."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        questions: socket.socket,
        keeper: KeeperHandle,
    ) -> None:
        self.keeper = keeper
        self.last_lines = deque[str](maxlen=LINES_KEPT)
        self._selector = selector
        self._questions = questions
        self._splitter = LineSplitter()
        self._said_bytes = b""
        for source in (questions, keeper):
            selector.register(source, selectors.EVENT_READ)

    @property
    def gone(self) -> bool:
        return self.keeper.ended

    def watch(self, fd: int) -> None:
        """Let :meth:`poll` return when ``fd`` becomes readable."""
        self._selector.register(fd, selectors.EVENT_READ)

    def ask(self, spec: GenerationSpec) -> None:
        self._send(spec.model_dump_json())

    def cancel(self) -> None:
        """End the answer that is being made."""
        self._send(CANCEL)

    def poll(self, timeout_s: float) -> Iterator[Said]:
        """What is said within ``timeout_s``, until the process or a watched descriptor has more."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self.keeper:
                if any(isinstance(said, Started) for said in self.keeper.read_messages()):
                    listen_to_output(self._selector, self.keeper)
                if self.keeper.ended:
                    self._selector.unregister(self.keeper)
            elif key.fileobj == self.keeper.output:
                self.last_lines += self._splitter.feed(self._received(key.fd))
            elif key.fileobj is self._questions:
                yield from self._said(self._received(self._questions.fileno()))

    def _received(self, fd: int) -> bytes:
        data = b""
        with contextlib.suppress(ConnectionResetError):  # it died with a question unread
            data = os.read(fd, _READ_BYTES)
        if not data:
            self._selector.unregister(fd)
        return data

    def _said(self, data: bytes) -> Iterator[Said]:
        *lines, self._said_bytes = (self._said_bytes + data).split(b"\n")
        for line in lines:
            yield _SAID.validate_json(line)

    def _send(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its keeper says so
            self._questions.sendall(line.encode() + b"\n")
