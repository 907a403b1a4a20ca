"""The slot process as the worker's main process sees it: started, kept running, stopped."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping

logger = logging.getLogger(__name__)


class SlotProcess:
    """One slot process, a child of this one, listening at ``socket_name``.

    All methods are for the main thread: the slot process dies with the thread that started it.
    ``env`` replaces the inherited environment; ``extra_arguments`` are for tests.
    """

    def __init__(
        self,
        socket_name: str,
        *,
        preload: bool = True,
        env: Mapping[str, str] | None = None,
        extra_arguments: tuple[str, ...] = (),
    ) -> None:
        self.socket_name = socket_name
        self._preload = preload
        self._env = env
        self._extra_arguments = extra_arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Pid of the running slot process; None where none runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start it; returns at once, requests wait until it is ready.

        Raises RuntimeError outside the main thread, OSError where no process can be started.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the slot process dies with the thread that starts it")
        command = [sys.executable, "-m", "worker.slot_process", "--socket", self.socket_name]
        command += ["--parent-pid", str(os.getpid())]
        if not self._preload:
            command.append("--no-preload")
        self._process = subprocess.Popen(
            [*command, *self._extra_arguments],
            stdin=subprocess.DEVNULL,
            env=self._env,
            # A Ctrl-C in the terminal is for the main process, which ends the jobs in order.
            start_new_session=True,
        )
        logger.info(
            "slot process started", extra={"action": "slot_started", "pid": self._process.pid}
        )

    def ensure_running(self) -> bool:
        """Start it again where it has died; returns whether that was so."""
        if self.pid is not None:
            return False
        if self._process is not None:
            logger.warning(
                "slot process died (exit code %s): starting another",
                self._process.returncode,
                extra={"action": "slot_died"},
            )
        self.start()
        return True

    def stop(self, timeout_s: float) -> None:
        """End it with every attempt that still runs; SIGKILL after ``timeout_s``."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
