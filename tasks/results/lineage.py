"""Lineage of a result: the jobs that it comes from, and the model that the first began with."""

from __future__ import annotations

from pathlib import Path

from tasks.models.origin import ancestors
from trainyard.contract.config import ModelConfig
from trainyard.contract.request import TrainingRequest


def lineage(model: ModelConfig, base: ModelConfig, jobs: Path) -> tuple[str, str]:
    """The name of the model that all began with, and a sentence on how this one came from it.

    ``base``: what ``model`` stands for without its adapter. The sentence is empty if it is all.
    """
    found = list(ancestors(model.name, jobs))
    steps = [_step(name, request) for name, request in found]
    if not steps and base.name == model.name:
        return base.name, ""
    first = found[-1][1].config.model.name if found else base.name
    steps = steps or [f"the adapter `{model.name}`"]
    return first, f"It goes on from {', which went on from '.join(steps)}, of `{first}`."


def _step(name: str, request: TrainingRequest) -> str:
    training = request.config.training
    return f"`{name}` (`{training.method}`{', a LoRA adapter' if training.use_lora else ''})"
