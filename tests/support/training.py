"""Run the training process as its supervisor does, for tests."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from backend_bridge.contract import AnyEvent, Command, Outcome, TrainingSpec, parse_request

EVENT: TypeAdapter[Any] = TypeAdapter(AnyEvent)
TIMEOUT_S = 100


@dataclass
class Run:
    """What one run of the training process did."""

    events: list[Any] = field(default_factory=list)
    exit_code: int | None = None
    log: str = ""
    job_dir: Path = Path()

    @property
    def outcome(self) -> Outcome:
        """The last event."""
        last = self.events[-1]
        assert isinstance(last, Outcome), (last, self.log)
        return last

    def of(self, kind: type) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def write_jsonl(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    """Write ``rows`` as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run_training(
    home: Path,
    request: Mapping[str, Any],
    *,
    models: Path,
    attempt: int = 1,
    on_event: Callable[[Any, Callable[[str], None]], None] | None = None,
) -> Run:
    """Run ``python -m tasks.runner`` for ``request`` to its end.

    Data sets are looked up in ``home/datasets``. ``on_event(event, command)`` is called with each
    event and may send a command.
    """
    parsed = parse_request({"job_token": "tok-secret", **request})
    job_dir = home / "jobs" / parsed.execution_id
    job_dir.mkdir(parents=True, exist_ok=True)
    (job_dir / "request.json").write_text(json.dumps(parsed.without_secrets()))
    (home / "datasets").mkdir(exist_ok=True)
    spec = TrainingSpec(
        job_id=parsed.execution_id,
        attempt=attempt,
        slot="test-0",
        job_dir=str(job_dir),
        cache_dir=str(home / "cache"),
        dataset_roots=[str(home / "datasets")],
        model_roots=[str(models)],
    )
    ours, theirs = socket.socketpair()
    run = Run(job_dir=job_dir)
    log_path = job_dir / "output.txt"
    with ours, log_path.open("wb") as log:
        ours.settimeout(TIMEOUT_S)
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.runner", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
        )
        theirs.close()
        try:
            ours.sendall(spec.model_dump_json().encode() + b"\n")
            for event in _events(ours):
                run.events.append(event)
                if on_event is not None:
                    on_event(event, lambda name: _command(ours, name))
            run.exit_code = process.wait(TIMEOUT_S)
        finally:
            process.kill()
            process.wait()
    run.log = log_path.read_text()
    return run


def _events(connection: socket.socket) -> Iterator[Any]:
    with connection.makefile("rb") as lines:
        for line in lines:
            yield EVENT.validate_json(line)


def _command(connection: socket.socket, name: str) -> None:
    command = Command.model_validate({"command": name})
    connection.sendall(command.model_dump_json().encode() + b"\n")
