"""Child process that lives long: started, started again when it dies, stopped, never left over."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainyard import prctl
from trainyard.service_logs import rotate

RESTART_AFTER_S = 1.0
"""A child that dies at once is not started again at once."""

logger = logging.getLogger(__name__)


def python_module(module: str, *arguments: str) -> list[str]:
    """Command that runs ``python -m module`` with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def dying_with_us(command: Sequence[str]) -> list[str]:
    """``command`` so that it gets SIGTERM when the thread that starts it ends, however it ends."""
    return [sys.executable, "-IS", prctl.__file__, str(os.getpid()), *command]


class ChildProcess:
    """One child, which gets SIGTERM when the thread that started it ends: use the main thread.

    ``command`` names a program by its full path.

    ``log_file`` gets its output; None: it writes to this process's own stdout and stderr.
    ``env`` is added to ``environ``; None: to this process's own environment. ``pass_fds``:
    descriptors that it inherits.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.command = list(command)
        self.env = {**(os.environ if environ is None else environ), **(env or {})}
        self.log_file = log_file
        self.pass_fds = tuple(pass_fds)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._log_began_at: int | None = None

    @property
    def pid(self) -> int | None:
        """Pid while it runs, else None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs or before it was started."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start it; must not be called while it runs."""
        assert self.pid is None, f"{self.name} runs already"
        output = None
        if self.log_file is not None:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            output = self.log_file.open("ab")
            if self._log_began_at is None:
                self._log_began_at = output.tell()
        try:
            self._process = subprocess.Popen(
                dying_with_us(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=self.env,
                pass_fds=self.pass_fds,
                start_new_session=True,  # Ctrl-C is for us, who end our children in order
            )
        finally:
            if output is not None:
                output.close()
        self._started_at = time.monotonic()

    def recent_output(self, lines: int = 15) -> str:
        """The end of what it has printed into its log file since it was first started."""
        if self.log_file is None or not self.log_file.exists():
            return "(no log)"
        with self.log_file.open("rb") as log_file:
            began_at = self._log_began_at or 0
            log_file.seek(began_at if began_at <= self.log_file.stat().st_size else 0)
            text = log_file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def ensure_running(self) -> bool:
        """Start it again if it has died; returns whether that was so."""
        if self.log_file is not None:
            rotate(self.log_file)
        if self.pid is not None or time.monotonic() - self._started_at < RESTART_AFTER_S:
            return False
        said = f"; the end of its log: {self.recent_output(1)}" if self.log_file else ""
        logger.warning(
            "%s died (exit code %s): starting another%s",
            *(self.name, self.returncode, said),
            extra={"action": "child_died"},
        )
        self.start()
        return True

    def terminate(self) -> None:
        """Ask it to end."""
        if self.pid is not None and self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, timeout_s: float) -> None:
        """Ask it to end, wait, and kill it after ``timeout_s``."""
        if self._process is None:
            return
        self.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            logger.warning(
                "%s did not end within %g s: killed",
                self.name,
                timeout_s,
                extra={"action": "child_killed"},
            )
            self._process.kill()
            self._process.wait()
