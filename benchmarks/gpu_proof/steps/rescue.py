"""Rescue: a batch that memory has no room for is trained in smaller pieces.

Without a GPU memory is said to last for a quarter of it, as the tests of ``tasks.out_of_memory``
do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import Scene
from benchmarks.gpu_proof.steps.product_run import settings, train
from tests.support.training import Preloaded


def run(scene: Scene) -> Iterator[Row]:
    """The rows that fitted in the end."""
    asked = scene.size.too_large
    with Preloaded() as preloaded:
        if not scene.size.on_gpu:
            preloaded.rows_that_fit = (0, asked // 4)
        done = train(
            scene,
            preloaded,
            "too-large",
            settings(scene, "full", batch_size=asked, max_steps=2),
        )
    tries = re.findall(r"batch_size (\d+) → (\d+)", done.run.log)
    if not tries:
        raise RuntimeError(f"{asked} rows at once fitted: there was nothing to rescue")
    note = " → ".join([tries[0][0], *(less for _, less in tries)]) + " rows at once, then completed"
    yield Row("out-of-memory rescue", float(tries[-1][1]), "rows at once", note=note)
