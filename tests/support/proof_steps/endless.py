"""Step of the GPU proof without end, with a child that it does not end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import Scene


def run(scene: Scene) -> Iterator[Row]:
    """The pid of the child, and nothing more."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield Row("child", note=str(child.pid))
    child.wait()
