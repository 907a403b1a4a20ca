"""Link of a supervisor to one training process: its output, its events, its keeper."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from trainyard.contract.events import AnyEvent, Command
from trainyard.contract.names import attempt_id
from trainyard.secret_environment import seal
from trainyard.settings import Settings
from trainyard.store.job import Job
from worker.slot import WorkerSlot
from worker.slot_process.client import KeeperHandle, KeeperMessage, start_attempt
from worker.slot_process.protocol import Started
from worker.slot_process.training_start import PIPE_BYTES
from worker.supervisor.output_lines import LineSplitter
from worker.supervisor.training_spec import training_spec

SLOT_START_TIMEOUT_S = 120.0
_READ_BYTES = 1 << 18
_WAKEUP = object()
_EVENTS = TypeAdapter[AnyEvent](AnyEvent)


@dataclass(frozen=True)
class OutputLines:
    """What the training and its children have printed; empty while no line is complete."""

    lines: list[str]


@dataclass(frozen=True)
class BrokenEvent:
    """What should have been an event and is none, in words."""

    problem: str


@dataclass(frozen=True)
class ToldToEnd:
    """SIGTERM has come: a revoke with terminate=True, or the end of the worker; at once."""


@dataclass(frozen=True)
class WorkerStops:
    """The worker stops in order, or its main process is gone."""


FromTraining = OutputLines | AnyEvent | BrokenEvent
Ends = tuple[selectors.BaseSelector, socket.socket, KeeperHandle]
"""Our ends of a process: a selector, its channel, its keeper."""
Arrival = FromTraining | KeeperMessage | ToldToEnd | WorkerStops


@contextlib.contextmanager
def start_training(
    settings: Settings, slot: WorkerSlot, job: Job, dataset_url: SecretStr | None = None
) -> Iterator[TrainingLink]:
    """Start a training through the slot process; leaving ends whatever still lives of the attempt.

    It goes on in the process of the attempt that is parked on this slot, if there is one. What it
    may need of this worker's secrets, and ``dataset_url``, comes sealed beside its spec. Raises
    SlotUnavailable.
    """
    spec = training_spec(
        settings, slot.name, job, slot.gpu_expected, gpus=slot.gpus, metered=slot.metered
    )
    with open_link(
        slot.socket_name,
        attempt_id(spec.job_id, spec.attempt),
        {"TRAINYARD_JOB_ID": spec.job_id},
        timeout_s=SLOT_START_TIMEOUT_S,
        preload=settings.preload,
        parked=job.parked_at(slot.name),
    ) as link:
        secrets = seal(os.environ, dataset_url.get_secret_value() if dataset_url else "")
        try:
            link.send_spec(spec, [secrets])
        finally:
            os.close(secrets)
        yield link


@contextlib.contextmanager
def open_link(
    socket_name: str, attempt: str, env: Mapping[str, str], **options: Any
) -> Iterator[TrainingLink]:
    """A link to a process that is started as by :func:`open_ends`, and waits for its spec."""
    with open_ends(socket_name, attempt, env, **options) as ends:
        yield TrainingLink(*ends)


@contextlib.contextmanager
def open_ends(
    socket_name: str, attempt: str, env: Mapping[str, str], **options: Any
) -> Iterator[Ends]:
    """Ask the slot process for a process; leaving ends whatever still lives of it.

    ``options`` are those of ``start_attempt``. Raises SlotUnavailable.
    """
    with contextlib.ExitStack() as stack:
        events, theirs = socket.socketpair()
        stack.enter_context(events)
        with theirs:
            keeper = stack.enter_context(
                start_attempt(socket_name, attempt, env, theirs.fileno(), **options)
            )
        selector = stack.enter_context(selectors.DefaultSelector())
        yield selector, events, keeper


class TrainingLink:
    """Reads what comes from a training; ``keeper`` is the way to end, park or vouch for it."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        events: socket.socket,
        keeper: KeeperHandle,
    ) -> None:
        self.keeper = keeper
        self._selector = selector
        self._events = events
        self._splitter = LineSplitter()
        self._event_bytes = b""
        events.setblocking(False)
        for source in (events, keeper):
            selector.register(source, selectors.EVENT_READ)

    def send_spec(self, spec: BaseModel, fds: Sequence[int] = ()) -> None:
        """Send the first line, which the process waits for, with descriptors beside it."""
        line = spec.model_dump_json().encode() + b"\n"
        self._events.setblocking(True)
        sent = socket.send_fds(self._events, [line], fds) if fds else 0
        self._events.sendall(line[sent:])
        self._events.setblocking(False)

    def watch(self, fd: int, arrival: ToldToEnd | WorkerStops) -> None:
        """Let :meth:`poll` yield ``arrival`` when ``fd`` becomes readable, once."""
        self._selector.register(fd, selectors.EVENT_READ, arrival)

    def watch_wakeups(self, eventfd: int) -> None:
        """Let :meth:`poll` end at once when another thread writes to ``eventfd``."""
        self._selector.register(eventfd, selectors.EVENT_READ, _WAKEUP)

    def poll(self, timeout_s: float) -> Iterator[Arrival]:
        """What arrives within ``timeout_s``."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self.keeper:
                yield from self._keeper_messages()
            elif key.fileobj == self.keeper.output:
                yield OutputLines(self._splitter.feed(self._receive(key.fd)))
            elif key.fileobj is self._events:
                yield from self._events_in(self._receive(self._events))
            elif key.data is _WAKEUP:
                os.eventfd_read(key.fd)
            else:
                self._selector.unregister(key.fileobj)
                arrival: ToldToEnd | WorkerStops = key.data
                yield arrival

    def rest(self) -> Iterator[FromTraining]:
        """When every process is gone, or parked: what has been printed and said until then."""
        left = PIPE_BYTES  # what a parked one goes on to print is the next attempt's
        while left > 0 and (data := self._receive(self.keeper.output)):
            left -= len(data)
            yield OutputLines(self._splitter.feed(data))
        while data := self._receive(self._events):
            yield from self._events_in(data)
        yield OutputLines(self._splitter.close())

    def command(self, command: Literal["cancel", "pause", "hold", "continue"]) -> None:
        """Ask something of the training; nothing happens if it is ending anyway."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._events.sendall(Command(command=command).model_dump_json().encode() + b"\n")

    def _keeper_messages(self) -> Iterator[KeeperMessage]:
        messages = self.keeper.read_messages()
        if any(isinstance(message, Started) for message in messages):
            listen_to_output(self._selector, self.keeper)
        if self.keeper.ended:
            self._selector.unregister(self.keeper)
        yield from messages

    def _receive(self, source: int | socket.socket | None) -> bytes:
        """Bytes, or none if there are none now or, at the end of file, never again."""
        if source is None or source not in self._selector.get_map():
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

    def _events_in(self, data: bytes) -> Iterator[AnyEvent | BrokenEvent]:
        *lines, self._event_bytes = (self._event_bytes + data).split(b"\n")
        yield from _parse(lines)


def listen_to_output(selector: selectors.BaseSelector, keeper: KeeperHandle) -> None:
    """Select on the output, which has come with ``Started``."""
    assert keeper.output is not None
    os.set_blocking(keeper.output, False)
    selector.register(keeper.output, selectors.EVENT_READ)


def _parse(lines: Iterable[bytes]) -> Iterator[AnyEvent | BrokenEvent]:
    for line in lines:
        try:
            yield _EVENTS.validate_json(line)
        except ValidationError as error:
            yield BrokenEvent(str(error))
