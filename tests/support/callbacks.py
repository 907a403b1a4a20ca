"""Callbacks without a Trainer: a channel that keeps what is sent, a run, the Trainer's states."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tasks.channel import Channel
from tasks.progress.phases import Phases
from tasks.run import Run
from trainyard.contract.config import JobConfig
from trainyard.contract.events import Event, TrainingSpec
from trainyard.contract.request import TrainingRequest


class RecordingChannel(Channel):
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Event] = []

    def agree(self) -> None:
        """Nobody to agree with."""

    def send(self, event: Event) -> None:
        """Keep it."""
        self.sent.append(event)

    def stand_still_if_held(self, step: int) -> bool:
        """Never held."""
        return False

    def finish(self) -> None:
        """Nothing is queued."""


def run_over(channel: Channel, **training: Any) -> Run:
    """A run with these settings of ``config.training``."""
    config = JobConfig.model_validate({"model": {"name": "m"}, "training": training})
    request = TrainingRequest(execution_id="j", dataset_path="a.jsonl", config=config)
    spec = TrainingSpec(
        job_id="j",
        attempt=1,
        slot="s",
        job_dir="/nowhere",
        cache_dir="/nowhere",
        dataset_roots=[],
        model_roots=[],
    )
    return Run(spec, request, channel, Phases(channel))


def state(step: int, **more: Any) -> SimpleNamespace:
    """The Trainer's state after ``step`` of 10."""
    values = {"global_step": step, "max_steps": 10, "epoch": 0.5, "log_history": []}
    return SimpleNamespace(**{**values, "num_train_epochs": 1, **more})


def control() -> SimpleNamespace:
    """The Trainer's control, with nothing asked for."""
    names = ("training_stop", "log", "evaluate", "save")
    return SimpleNamespace(**{f"should_{name}": False for name in names})
