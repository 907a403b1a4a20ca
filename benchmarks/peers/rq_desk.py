"""RQ: a worker that has imported what its jobs need, and forks a work horse for each.

python -m benchmarks.peers.rq_desk worker
python -m benchmarks.peers.rq_desk          # the desk
"""

from __future__ import annotations

import os
import sys
from typing import Any

from redis import Redis
from rq import Queue, Retry, Worker
from rq.command import send_stop_job_command
from rq.job import Job

from benchmarks.peers.desk import serve

_NAME = "peers"


class RqDesk:
    def __init__(self) -> None:
        self._redis = Redis.from_url(os.environ["PEERS_REDIS"])
        self._queue = Queue(_NAME, connection=self._redis)

    def ready(self) -> bool:
        return any(w.get_state() == "idle" for w in Worker.all(connection=self._redis))

    def submit(self, spec: dict[str, Any]) -> None:
        self._queue.enqueue(
            "benchmarks.peers.training_job.run",
            spec,
            job_id=spec["name"],
            job_timeout=-1,
            retry=Retry(max=3),
        )

    def cancel(self, name: str) -> None:
        send_stop_job_command(self._redis, name)

    def says(self, name: str) -> str:
        return str(Job.fetch(name, connection=self._redis).get_status().value)


def work() -> None:
    import benchmarks.peers.training_job  # noqa: F401 - once, before the forks

    redis = Redis.from_url(os.environ["PEERS_REDIS"])
    Worker([Queue(_NAME, connection=redis)], connection=redis).work(logging_level="WARNING")


if __name__ == "__main__":
    work() if sys.argv[1:] == ["worker"] else serve(RqDesk)
