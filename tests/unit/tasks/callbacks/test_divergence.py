"""Divergence of a training, seen in what is logged and in its weights."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.callbacks.divergence import LossCheck, WeightCheck
from tasks.errors import Diverged
from tests.support.callbacks import RecordingChannel, control, run_over, state
from trainyard.contract.events import Divergence


@pytest.mark.parametrize(
    ("logs", "fp16", "diverges"),
    [
        ({"loss": math.nan}, False, True),
        ({"loss": 1.0, "grad_norm": math.inf}, False, True),
        ({"loss": 1.0, "grad_norm": math.inf}, True, False),
        ({"eval_loss": math.inf}, True, True),
        ({"loss": 1.0, "grad_norm": 1.0}, False, False),
    ],
)
def test_divergence(logs: dict[str, float], fp16: bool, diverges: bool) -> None:
    channel = RecordingChannel()
    arguments = SimpleNamespace(fp16=fp16)
    strict: Any = LossCheck(run_over(channel, stop_on_nan=True), None)
    lenient: Any = LossCheck(run_over(channel, stop_on_nan=False), None)
    lenient.on_log(arguments, state(3), None, logs)
    if diverges:
        with pytest.raises(Diverged, match="step 3"):
            strict.on_log(arguments, state(3), None, logs)
    else:
        strict.on_log(arguments, state(3), None, logs)


@pytest.mark.parametrize("stop_on_nan", [True, False])
def test_a_divergence_is_an_event_once(stop_on_nan: bool) -> None:
    channel = RecordingChannel()
    listener: Any = LossCheck(run_over(channel, stop_on_nan=stop_on_nan), None)
    arguments = SimpleNamespace(fp16=False)
    for step in (3, 4):
        with contextlib.suppress(Diverged):
            listener.on_log(arguments, state(step), None, {"loss": -math.inf})
        if stop_on_nan:
            break
    assert channel.sent == [Divergence(step=3, name="loss", value="-inf")]


def test_what_is_saved_is_logged_before() -> None:
    losses: Any = LossCheck(run_over(RecordingChannel()), None)
    for saves in (False, True):
        flow = control()
        flow.should_save = saves
        losses.on_step_end(None, state(3), flow)
        assert flow.should_log is saves


@pytest.mark.parametrize(("stop_on_nan", "spoilt"), [(True, False), (False, True), (True, True)])
def test_weights_are_only_refused_if_they_diverged_and_that_is_minded(
    stop_on_nan: bool, spoilt: bool
) -> None:
    channel, model = RecordingChannel(), torch.nn.Linear(2, 2)
    if spoilt:
        model.bias.data[0] = math.nan
    trainer = SimpleNamespace(model=model, state=state(3))
    check: Any = WeightCheck(run_over(channel, stop_on_nan=stop_on_nan), trainer)
    for look in (check.before_save, lambda: check.on_train_end(None, None, None)):
        channel.sent.clear()
        if stop_on_nan and spoilt:
            with pytest.raises(Diverged, match="after step 3"):
                look()
            assert channel.sent == [Divergence(step=3, name="weights", value="nan")]
        else:
            look()
            assert channel.sent == []
