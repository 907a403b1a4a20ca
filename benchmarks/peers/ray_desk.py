"""Ray: a remote task on a local cluster of one node, which this process starts and ends.

python -m benchmarks.peers.ray_desk         # the desk
"""

from __future__ import annotations

import os
from typing import Any

import ray

from benchmarks.peers.desk import serve


@ray.remote(num_cpus=1, max_retries=3)
def train(spec: dict[str, Any]) -> None:
    from benchmarks.peers.training_job import run

    run(spec)


class RayDesk:
    def __init__(self) -> None:
        self._tasks: dict[str, ray.ObjectRef[None]] = {}
        ray.init(
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=100_000_000,
            _node_ip_address="127.0.0.1",
            _temp_dir=os.environ["PEERS_FOLDER"],
        )

    def ready(self) -> bool:
        return ray.cluster_resources().get("CPU") == 1

    def submit(self, spec: dict[str, Any]) -> None:
        self._tasks[spec["name"]] = train.remote(spec)

    def cancel(self, name: str) -> None:
        ray.cancel(self._tasks[name], force=True)

    def says(self, name: str) -> str:
        if name not in self._tasks:
            return "unknown"
        if not ray.wait([self._tasks[name]], timeout=0)[0]:
            return "not ready"
        try:
            ray.get(self._tasks[name])
        except Exception as problem:
            return f"failed ({type(problem).__name__})"
        return "completed"


if __name__ == "__main__":
    serve(RayDesk)
