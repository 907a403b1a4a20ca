"""How much of what a model says goes into the event stream."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.callbacks import predictions
from tasks.callbacks.predictions import Asked, Predictions
from trainyard.contract.config import PredictionsConfig
from trainyard.contract.events import Event, Prediction
from trainyard.contract.job_folder import PREDICTIONS
from trainyard.contract.names import PREDICTION_CHARACTERS_MAX


class Said:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def send(self, event: Event) -> None:
        self.events.append(event)


def sampler(
    channel: Any, folder: Path, prompts: list[list[int]], answer: str, **asked: Any
) -> Predictions:
    """Predictions of a model that always says ``answer``, which is also the right one; a prompt has
    a letter for each token."""
    model = SimpleNamespace(
        training=True, config=SimpleNamespace(use_cache=False), eval=lambda: None, train=bool
    )
    trainer = SimpleNamespace(
        processing_class=SimpleNamespace(
            decode=lambda ids, **_: answer if ids == [0] else "p" * len(ids)
        ),
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        model=model,
    )
    samples = [Asked(prompt, [0]) for prompt in prompts]
    made = Predictions(trainer, channel, samples, PredictionsConfig(**asked), folder)
    made._answer = lambda *_: [0]  # type: ignore[method-assign]  # there is no model
    return made


def evaluate(made: Predictions, step: int) -> None:
    made.on_evaluate(None, SimpleNamespace(global_step=step, epoch=0.5), None)


def texts(channel: Said) -> list[tuple[int, str, str]]:
    said = [event for event in channel.events if isinstance(event, Prediction)]
    assert said == channel.events
    return [(event.step, event.prompt, event.prediction) for event in said]


def test_a_long_text_is_cut_in_the_stream_and_whole_in_the_file(tmp_path: Path) -> None:
    channel, much = Said(), PREDICTION_CHARACTERS_MAX + 5
    evaluate(sampler(channel, tmp_path, [[1] * 3, [1] * much], "a" * much), 2)
    most = PREDICTION_CHARACTERS_MAX
    assert texts(channel) == [(2, "ppp", "a" * most), (2, "p" * most, "a" * most)]
    assert [event.cut for event in channel.events if isinstance(event, Prediction)] == [True, True]
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
    assert texts(channel) == [(step, "p", "yes") for step in (1, 1, 2)]
    assert caplog.text.count("predictions are in the event stream") == 1
    assert len((tmp_path / PREDICTIONS).read_text().splitlines()) == 6


def test_an_event_says_what_a_backend_asks_for(tmp_path: Path) -> None:
    channel = Said()
    evaluate(sampler(channel, tmp_path, [[1, 2], [1]], "yes", max_new_tokens=9), 2)
    *_, last = channel.events
    assert isinstance(last, Prediction)
    told = last.to_backend()
    assert told.pop("latency_ms") >= 0
    assert told == {
        **{"step": 2, "epoch": 0, "sample_index": 1, "prompt": "p", "prediction": "yes"},
        **{"ground_truth": "yes", "exact_match": True, "length_ratio": 1.0, "word_overlap": 1.0},
        **{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        **{"max_new_tokens": 9, "do_sample": False},
    }


@pytest.mark.parametrize(
    ("frequency", "steps"), [("eval", [2, 4, 6]), ("epoch", [3, 6]), ("step", [4])]
)
def test_as_often_as_asked(tmp_path: Path, frequency: str, steps: list[int]) -> None:
    channel = Said()
    made = sampler(channel, tmp_path, [[1]], "yes", frequency=frequency, step_interval=4)
    for step in range(1, 7):
        state = SimpleNamespace(global_step=step, epoch=step / 3)
        made.on_step_end(None, state, None)
        if step % 2 == 0:
            made.on_evaluate(None, state, None)
        if step % 3 == 0:
            made.on_epoch_end(None, state, None)
    assert [step for step, _, _ in texts(channel)] == steps
