"""Commands of the supervisor, and the moments at which they are obeyed."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.callbacks.commands import Control
from tasks.callbacks.divergence import LossCheck
from tasks.callbacks.metrics import MetricReporter
from tasks.errors import Paused, Stopped
from tests.support.callbacks import RecordingChannel, control, run_over, state


def listening_to(channel: RecordingChannel, loss_sum: float = 1.0) -> Any:
    losses = LossCheck(run_over(channel), SimpleNamespace(loss_sum=lambda: loss_sum))
    return Control(channel, MetricReporter(channel, 8, dict), losses)


def test_a_cancel_stops_at_once_wherever_it_is_seen() -> None:
    channel = RecordingChannel()
    listener = listening_to(channel)
    channel.cancel_requested.set()
    flow = control()
    flow.should_save = flow.should_evaluate = True
    with pytest.raises(Stopped):
        listener.on_step_end(None, state(3), flow)
    with pytest.raises(Stopped):
        listener.on_prediction_step(None, state(3), flow)


def test_a_pause_before_the_first_step_ends_the_attempt_at_once() -> None:
    channel = RecordingChannel()
    listener = listening_to(channel)
    channel.pause_requested.set()
    for event in (listener.on_train_begin, listener.on_step_begin, listener.on_prediction_step):
        with pytest.raises(Paused):
            event(None, state(0), control())


def test_a_pause_asks_for_a_checkpoint_except_at_the_last_step() -> None:
    channel = RecordingChannel()
    listener = listening_to(channel)
    channel.pause_requested.set()
    flow = control()
    listener.on_step_end(None, state(10), flow)
    assert (listener.pausing, flow.should_save) == (False, False)
    listener.on_step_end(None, state(9), flow)
    assert (listener.pausing, flow.should_save, flow.should_log) == (True, True, False)


def test_a_pause_during_an_eval_comes_before_the_next_step() -> None:
    channel = RecordingChannel()
    listener = listening_to(channel)
    flow = control()
    listener.on_step_end(None, state(4), flow)
    channel.pause_requested.set()
    listener.on_prediction_step(None, state(4), flow)
    listener.on_evaluate(None, state(4), flow)
    assert (listener.pausing, flow.should_save) == (True, True)


def test_the_checkpoint_of_an_epochs_last_step_waits_for_the_epochs_end() -> None:
    channel = RecordingChannel()
    listener = listening_to(channel)
    flow = control()
    flow.should_save = True
    listener.on_step_end(None, state(5, epoch=1.0), flow)
    assert not flow.should_save
    channel.pause_requested.set()
    listener.on_evaluate(None, state(5, epoch=1.0), flow)
    assert not flow.should_save
    listener.on_epoch_end(None, state(5, epoch=1.0), flow)
    assert (listener.pausing, flow.should_save) == (True, True)


def test_a_checkpoint_that_an_eval_asks_for_at_an_epochs_last_step_waits_too() -> None:
    listener = listening_to(RecordingChannel())
    flow = control()
    listener.on_step_end(None, state(5, epoch=1.0), flow)
    flow.should_save = True
    listener.on_evaluate(None, state(5, epoch=1.0), flow)
    assert not flow.should_save
    listener.on_epoch_end(None, state(5, epoch=1.0), flow)
    assert flow.should_save


def test_a_pause_with_a_loss_that_is_no_number_logs_it_first() -> None:
    channel = RecordingChannel()
    listener = listening_to(channel, loss_sum=math.nan)
    channel.pause_requested.set()
    flow = control()
    listener.on_step_end(None, state(3), flow)
    assert flow.should_log
