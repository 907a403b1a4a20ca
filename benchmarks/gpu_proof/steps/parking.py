"""Parking: a pause, off the GPU, and a warm resume, against the same training without a pause."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import Scene
from benchmarks.gpu_proof.steps.peak_memory import used_gb
from benchmarks.gpu_proof.steps.recipes import KINDS
from benchmarks.gpu_proof.steps.supervised import services, submit, weights
from benchmarks.lifecycle import Bench
from benchmarks.measure import Target
from tests.support.waiting import wait_for

SECOND = Target("value", "<=", 1.0)
_PAUSED_FROM = 3
_WARM = "(parked before, goes on)"


def run(scene: Scene) -> Iterator[Row]:
    """A full training and one of an adapter."""
    with services(scene) as on:
        for kind in KINDS:
            yield from _pause(scene, on, kind)


def _pause(scene: Scene, on: Bench, kind: str) -> Iterator[Row]:
    steps, lora = scene.size.parked_steps, {"use_lora": kind == "LoRA"}
    straight, paused = f"straight-{kind.lower()}", f"paused-{kind.lower()}"
    submit(on, straight, steps, **lora)
    on.stack.wait(straight, "completed")
    submit(on, paused, steps, **lora)
    wait_for("it trains", lambda: len(on.steps(paused)) >= _PAUSED_FROM)
    running, asked = used_gb(), time.monotonic()
    on.stack.bridge.pause(paused)
    yield Row(f"{kind}: pause, with its checkpoint", on.wait_status(paused, "paused") - asked, "s")
    if scene.size.on_gpu:
        freed = running - used_gb()
        note = f"of {running:.2f} GB, as NVML sees it"
        yield Row(f"{kind}: memory freed while parked", freed, "GB", note=note)
    else:
        yield Row(f"{kind}: memory freed while parked", state="left out", note="no GPU to leave")
    yield Row(f"{kind}: off the GPU", on.seconds(paused, "leave"), "s", aim=SECOND)
    asked = time.monotonic()
    on.stack.bridge.resume(paused)
    first = on.first_step_after(paused, asked) - asked
    yield Row(f"{kind}: back on the GPU", on.seconds(paused, "come_back"), "s", aim=SECOND)
    yield Row(f"{kind}: resume, to the end of a step", first, "s", aim=SECOND)
    on.stack.wait(paused, "completed")
    if _WARM not in on.stack.log(paused):
        raise RuntimeError(f"{paused} was not resumed in its parked process")
    if weights(on, paused) != weights(on, straight):
        raise RuntimeError(f"the weights of {paused} differ from those of {straight}")
    yield Row(f"{kind}: weights against a straight run's", note="equal, bit for bit")
