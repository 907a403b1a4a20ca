"""Client of a peer's desk: its process, and calls to it."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_REPLY_S = 60.0


class DeskFailed(Exception):
    """It died, does not answer, or its library refused; the message says which."""


class DeskClient:
    """One desk process; ``log`` gets what its library prints."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def call(self, name: str, *arguments: Any) -> Any:
        """One call; its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise DeskFailed(last_line(self._log)) from None
        if not select.select([self._process.stdout], [], [], _REPLY_S)[0]:
            raise DeskFailed(f"no reply to {name} in {_REPLY_S:g} s")
        if not (line := self._process.stdout.readline()):
            raise DeskFailed(last_line(self._log))
        reply = json.loads(line)
        if "error" in reply:
            raise DeskFailed(reply["error"])
        return reply["answer"]

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def last_line(log: Path) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it ended without a word")
