"""The supervisor's connections to one training process: its output, its events, its keeper."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import socket
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import TypeAdapter, ValidationError

from trainyard.contract.events import AnyEvent, Command, TrainingSpec
from trainyard.contract.names import attempt_id
from worker.slot_process.client import KeeperHandle, KeeperMessage, start_attempt
from worker.supervisor.output_lines import LineSplitter

SLOT_START_TIMEOUT_S = 120.0
PIPE_BYTES = 1 << 20
"""What the training may print while the supervisor waits for Redis, without waiting itself."""
_READ_BYTES = 1 << 18
_EVENTS: TypeAdapter[Any] = TypeAdapter(AnyEvent)


class TrainingLink:
    """Starts a training through the slot process and reads what comes from it.

    A context manager: leaving it closes the keeper's lifeline, which ends whatever still lives of
    the attempt. ``keeper`` is the way to end, park or vouch for it. Raises SlotUnavailable.
    """

    keeper: KeeperHandle

    def __init__(
        self, socket_name: str, spec: TrainingSpec, *, preload: bool, parked: str | None
    ) -> None:
        self._socket_name = socket_name
        self._spec = spec
        self._preload = preload
        self._parked = parked
        self._stack = contextlib.ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        self._splitter = LineSplitter()
        self._event_bytes = b""

    def __enter__(self) -> Self:
        output_read, output_write = make_output_pipe()
        self._events, theirs = socket.socketpair()
        self._output = output_read
        self._stack.callback(os.close, output_read)
        self._stack.enter_context(self._events)
        try:
            self.keeper = self._stack.enter_context(
                start_attempt(
                    self._socket_name,
                    attempt_id(self._spec.job_id, self._spec.attempt),
                    {"TRAINYARD_JOB_ID": self._spec.job_id},
                    output_write,
                    theirs.fileno(),
                    timeout_s=SLOT_START_TIMEOUT_S,
                    preload=self._preload,
                    parked=self._parked,
                )
            )
        except BaseException:
            self._stack.close()
            raise
        finally:
            os.close(output_write)
            theirs.close()
        self._events.sendall(self._spec.model_dump_json().encode() + b"\n")
        self._events.setblocking(False)
        os.set_blocking(output_read, False)
        for source in (self._output, self._events, self.keeper):
            self._selector.register(source, selectors.EVENT_READ)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def watch(self, fd: int) -> None:
        """Let :meth:`poll` yield ``fd`` (an int) when it becomes readable, once."""
        self._selector.register(fd, selectors.EVENT_READ)

    def poll(self, timeout_s: float) -> Iterator[list[str] | KeeperMessage | Any | int]:
        """What arrives within ``timeout_s``: lines of output (a list), events (contract models),
        messages of the keeper, and watched descriptors (int). Text that should have been an event
        and is none comes as a ValidationError.
        """
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self.keeper:
                yield from self._messages()
            elif key.fileobj == self._output:
                yield self._splitter.feed(self._receive(self._output))
            elif key.fileobj is self._events:
                yield from self._events_in(self._receive(self._events))
            else:
                self._selector.unregister(key.fileobj)
                yield key.fd

    def rest(self) -> Iterator[list[str] | Any]:
        """When every process is gone: what still stands in the pipes is all there will be."""
        while data := self._receive(self._output):
            yield self._splitter.feed(data)
        while data := self._receive(self._events):
            yield from self._events_in(data)
        yield self._splitter.close()

    def command(self, command: Literal["cancel", "pause", "hold", "continue"]) -> None:
        """Ask something of the training; nothing happens where it is ending anyway."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._events.sendall(Command(command=command).model_dump_json().encode() + b"\n")

    def _messages(self) -> Iterator[KeeperMessage]:
        messages = self.keeper.read_messages()
        if self.keeper.ended:
            self._selector.unregister(self.keeper)
        yield from messages

    def _receive(self, source: int | socket.socket) -> bytes:
        """Bytes, or none where there are none now or, at the end of file, never again."""
        if source not in self._selector.get_map():
            return b""
        try:
            if isinstance(source, int):
                data = os.read(source, _READ_BYTES)
            else:
                data = source.recv(_READ_BYTES)
        except BlockingIOError:
            return b""
        except ConnectionResetError:
            data = b""
        if not data:
            self._selector.unregister(source)
        return data

    def _events_in(self, data: bytes) -> Iterator[Any]:
        *lines, self._event_bytes = (self._event_bytes + data).split(b"\n")
        yield from _parse(lines)


def make_output_pipe() -> tuple[int, int]:
    """A pipe for a training's output: where to read, where to write."""
    read, write = os.pipe()
    with contextlib.suppress(PermissionError):  # this user's pipes hold too much already
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read, write


def _parse(lines: Iterable[bytes]) -> Iterator[Any]:
    for line in lines:
        try:
            yield _EVENTS.validate_json(line)
        except ValidationError as error:
            yield error
