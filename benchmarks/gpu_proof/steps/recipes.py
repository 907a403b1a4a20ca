"""Recipes: a job of the product beside the plain one, and what its trial and checkpoint take."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import MODEL, Scene
from benchmarks.gpu_proof.steps.peak_memory import PeakMemory
from benchmarks.gpu_proof.steps.product_run import ProductRun, settings, train
from benchmarks.measure import Target
from tests.support.paths import REPOSITORY
from tests.support.training import Preloaded
from trainyard.child_process import python_module
from trainyard.contract.units import GB

KINDS = ("full", "LoRA")
OURS = {"as the worker chooses": {}, "packed": {"packing": True}}
"""What a job asks for beside what every one does."""
TWICE = Target("ratio", ">=", 2.0)
OF_PEAK = Target("value", ">=", 0.45)


def run(scene: Scene) -> Iterator[Row]:
    """Rate, share of the chip's peak and peak memory of each, in the same minutes."""
    parameters = _parameters(scene)
    with Preloaded() as preloaded:
        for kind in KINDS:
            plain, plain_gb = _plain(scene, kind)
            flops = scene.size.flops_per_token(parameters, frozen=kind == "LoRA")
            yield Row(f"{kind}, plain: rate", plain, "tokens/s")
            yield from _share(scene, f"{kind}, plain", plain * flops, None)
            yield Row(f"{kind}, plain: peak memory", plain_gb, "GB")
            for number, (name, more) in enumerate(OURS.items()):
                timed = kind == KINDS[0] and number == 0
                saves = {"save_strategy": "steps", "save_steps": scene.size.steps} if timed else {}
                asked = settings(scene, kind, **more, **saves)
                ours = train(scene, preloaded, f"{kind.lower()}-{number}", asked)
                rate = ours.tokens_per_s(scene.size.warm_up)
                what = f"{kind}, {name}"
                yield Row(f"{what}: rate", rate, "tokens/s", plain, TWICE)
                yield from _share(scene, what, rate * flops, OF_PEAK)
                yield Row(f"{what}: peak memory", ours.peak_gb, "GB", plain_gb)
                if timed:
                    yield from _trial_and_checkpoint(ours)


def _trial_and_checkpoint(ours: ProductRun) -> Iterator[Row]:
    yield Row("trial on two rows", ours.seconds_of("trial"), "s")
    seconds, size = ours.checkpoint()
    note = f"{size / GB:.2f} GB, written and verified"
    yield Row("checkpoint", seconds, "s", note=note)


def _share(scene: Scene, what: str, flops: float, aim: Target | None) -> Iterator[Row]:
    what = f"{what}: share of bf16 peak"
    if scene.size.peak_flops:
        yield Row(what, flops / scene.size.peak_flops, aim=aim)
    elif scene.size.on_gpu:
        yield Row(what, note="the peak of this chip is not known here", state="left out")


def _parameters(scene: Scene) -> int:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        config = AutoConfig.from_pretrained(scene.models / MODEL)
        return int(AutoModelForCausalLM.from_config(config).num_parameters())


def _plain(scene: Scene, kind: str) -> tuple[float, float]:
    """Rate and peak memory. torch has one thread, as in :class:`Preloaded`."""
    command = python_module("benchmarks.gpu_proof.steps.plain_recipe", str(scene.work), kind)
    with PeakMemory() as peak:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    print(done.stdout)
    if done.returncode != 0:
        raise RuntimeError(f"the plain recipe ({kind}) ended with exit code {done.returncode}")
    return float(json.loads(done.stdout.splitlines()[-1])), peak.gb
