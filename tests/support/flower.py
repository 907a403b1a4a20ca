"""A real Flower beside a stack."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import requests

from tests.support.ports import free_port
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess

USER, PASSWORD = "operator", "flower-password"


def celery_command(*arguments: str) -> list[str]:
    """``celery -A worker.app ...`` with this environment's Celery."""
    celery = Path(sys.executable).with_name("celery")
    return [sys.executable, str(celery), "-A", "worker.app", *arguments]


class Flower:
    """``celery -A worker.app flower``; a context manager. ``password`` None: it asks for none."""

    def __init__(self, stack: Stack, *, password: str | None = PASSWORD) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._process = ChildProcess(
            "flower",
            celery_command("flower"),
            env={
                **stack.environment,
                "FLOWER_PORT": str(port),
                "FLOWER_BASIC_AUTH": f"{USER}:{password}" if password else "",
            },
            log_file=stack.home / "flower.log",
        )
        self._redis = stack.redis
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = (USER, PASSWORD)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._process.stop(10)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()
        self._process.stop(10)

    def _start(self) -> None:
        self._process.start()
        wait_for("Flower answers", self._answers)
        wait_for("Flower hears the workers", self._hears)

    def restart(self) -> None:
        """End it, and start it over the same home."""
        self._process.stop(10)
        self._start()

    def _answers(self) -> bool:
        try:
            return self.get("/workers").ok
        except requests.RequestException:
            return False

    def _hears(self) -> bool:
        """Whether it has subscribed: what workers say before that is lost to it."""
        connections = psutil.Process(self._process.pid).net_connections("tcp")
        ours = {connection.laddr.port for connection in connections}
        return any(
            int(client["psub"]) and int(client["addr"].rpartition(":")[2]) in ours
            for client in self._redis.client_list()
        )

    def get(self, path: str, **query: str) -> requests.Response:
        """One page or answer. Raises requests.RequestException."""
        answer = self._session.get(self.url + path, params=query, timeout=20)
        answer.raise_for_status()
        return answer

    def post(self, path: str, **query: str) -> requests.Response:
        """One act. Raises requests.RequestException."""
        answer = self._session.post(self.url + path, params=query, timeout=20)
        answer.raise_for_status()
        return answer

    def attempt(self, attempt_id: str, state: str) -> dict[str, Any]:
        """What Flower knows of an attempt, once it is in ``state``."""

        def found() -> dict[str, Any] | None:
            task = self.get("/api/tasks").json().get(attempt_id)
            return task if task and task["state"] == state else None

        attempt: dict[str, Any] = wait_for(f"Flower shows {attempt_id} as {state}", found)
        return attempt

    def log(self) -> str:
        """What it has printed."""
        return self._process.recent_output(1000)
