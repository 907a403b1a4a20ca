"""dramatiq: an actor in one process with one thread.

python -m dramatiq benchmarks.peers.dramatiq_desk benchmarks.peers.training_job -p 1 -t 1
python -m benchmarks.peers.dramatiq_desk    # the desk
"""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.desk import serve

_broker = RedisBroker(url=os.environ["PEERS_REDIS"])
dramatiq.set_broker(_broker)


@dramatiq.actor(time_limit=float("inf"))
def train(spec: dict[str, Any]) -> None:
    from benchmarks.peers.training_job import run

    run(spec)


class DramatiqDesk:
    def ready(self) -> bool:
        """Its workers say that they live by heartbeats in a sorted set."""
        return bool(_broker.client.zcard("dramatiq:__heartbeats__"))

    def submit(self, spec: dict[str, Any]) -> None:
        train.send(spec)

    def cancel(self, name: str) -> None:
        raise NotImplementedError

    def says(self, name: str) -> str:
        raise NotImplementedError


if __name__ == "__main__":
    serve(DramatiqDesk)
