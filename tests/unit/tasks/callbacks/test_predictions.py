"""How much of what a model says goes into the event stream."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.callbacks import predictions
from tasks.callbacks.predictions import Predictions
from trainyard.contract.events import Event, Prediction
from trainyard.contract.job_folder import PREDICTIONS
from trainyard.contract.names import PREDICTION_CHARACTERS_MAX


class Said:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def send(self, event: Event) -> None:
        self.events.append(event)


def sampler(channel: Any, folder: Path, prompts: list[list[int]], answer: str) -> Predictions:
    """Predictions of a model that always says ``answer``; a prompt has a letter for each token."""
    model = SimpleNamespace(
        training=True, config=SimpleNamespace(use_cache=False), eval=lambda: None, train=bool
    )
    trainer = SimpleNamespace(
        processing_class=SimpleNamespace(decode=lambda ids, **_: "p" * len(ids)),
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        model=model,
    )
    made = Predictions(trainer, channel, prompts, 4, folder)
    made._answer = lambda *_: answer  # type: ignore[method-assign]  # there is no model
    return made


def evaluate(made: Predictions, step: int) -> None:
    made.on_evaluate(None, SimpleNamespace(global_step=step), None)


def test_a_long_text_is_cut_in_the_stream_and_whole_in_the_file(tmp_path: Path) -> None:
    channel, much = Said(), PREDICTION_CHARACTERS_MAX + 5
    evaluate(sampler(channel, tmp_path, [[1] * 3, [1] * much], "a" * much), 2)
    most = PREDICTION_CHARACTERS_MAX
    assert channel.events == [
        Prediction(step=2, prompt="ppp", prediction="a" * most, cut=True),
        Prediction(step=2, prompt="p" * most, prediction="a" * most, cut=True),
    ]
    lines = (tmp_path / PREDICTIONS).read_text().splitlines()
    assert [len(json.loads(line)["prediction"]) for line in lines] == [much, much]


def test_the_stream_takes_so_many_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(predictions, "EVENTS_MAX", 3)
    channel = Said()
    made = sampler(channel, tmp_path, [[1], [2]], "yes")
    with caplog.at_level("INFO"):
        for step in (1, 2, 3):
            evaluate(made, step)
    assert channel.events == [
        Prediction(step=step, prompt="p", prediction="yes") for step in (1, 1, 2)
    ]
    assert caplog.text.count("predictions are in the event stream") == 1
    assert len((tmp_path / PREDICTIONS).read_text().splitlines()) == 6
