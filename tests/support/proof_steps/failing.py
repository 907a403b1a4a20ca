"""Step of the GPU proof that measures once and fails."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import Scene
from benchmarks.measure import Target


def run(scene: Scene) -> Iterator[Row]:
    """Half a step."""
    yield Row("half", 3.0, "s", plain=6.0, aim=Target("ratio", "<=", 0.25))
    print("what it printed")
    raise RuntimeError("no luck\nand more of it")
