"""Plain Celery: a task in a prefork worker, acknowledged late, as its documentation has long ones.

python -m celery -A benchmarks.peers.celery_desk worker -P prefork -c 1
python -m benchmarks.peers.celery_desk      # the desk
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.result import AsyncResult

from benchmarks.peers.desk import serve

app = Celery("peers", broker=os.environ["PEERS_REDIS"], backend=os.environ["PEERS_REDIS"])
app.conf.update(
    include=["benchmarks.peers.training_job"],  # imported before the pool forks
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_track_started=True,
    broker_connection_retry_on_startup=True,
)


@app.task(name="train")
def train(spec: dict[str, Any]) -> None:
    from benchmarks.peers.training_job import run

    run(spec)


class CeleryDesk:
    def ready(self) -> bool:
        return bool(app.control.ping(timeout=0.5))

    def submit(self, spec: dict[str, Any]) -> None:
        train.apply_async([spec], task_id=spec["name"])

    def cancel(self, name: str) -> None:
        app.control.revoke(name, terminate=True, signal="SIGKILL")

    def says(self, name: str) -> str:
        return str(AsyncResult(name, app=app).state)


if __name__ == "__main__":
    serve(CeleryDesk)
