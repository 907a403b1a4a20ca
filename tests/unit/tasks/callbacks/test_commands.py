"""The figures that the callbacks report."""

from __future__ import annotations

import contextlib
import math
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.callbacks.commands import Control
from tasks.callbacks.gpu_figures import GpuFigures, device_handle
from tasks.callbacks.metrics import Reporter, perplexity
from tasks.channel import Channel
from tasks.errors import Diverged, Paused, Stopped
from trainyard.contract.events import Divergence, Event, Metric


class RecordingChannel:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Event] = []
        self.cancel_requested = threading.Event()
        self.pause_requested = threading.Event()

    def send(self, event: Event) -> None:
        self.sent.append(event)

    def settle(self) -> None:
        pass

    def stand_still_if_held(self, step: int) -> bool:
        return False

    raise_if_cancelled = Channel.raise_if_cancelled
    raise_if_asked_to_stop = Channel.raise_if_asked_to_stop


def state(step: int, **more: Any) -> SimpleNamespace:
    values = {"global_step": step, "max_steps": 10, "epoch": 0.5, "log_history": []}
    return SimpleNamespace(**{**values, "num_train_epochs": 1, **more})


def control() -> SimpleNamespace:
    names = ("training_stop", "log", "evaluate", "save")
    return SimpleNamespace(**{f"should_{name}": False for name in names})


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(0.0, 1.0), (None, None), (math.nan, None), (math.inf, None), (5000.0, None)],
)
def test_perplexity_never_overflows(loss: float | None, expected: float | None) -> None:
    assert perplexity(loss) == expected


def test_values_that_are_not_finite_are_left_out() -> None:
    channel: Any = RecordingChannel()
    reporter: Any = Reporter(channel, 8, dict)
    reporter.on_log(None, state(3), None, {"loss": math.nan, "grad_norm": math.inf})
    [metric] = channel.sent
    assert isinstance(metric, Metric)
    assert (metric.train_loss, metric.grad_norm, metric.step) == (None, None, 3)


def test_the_eval_before_the_first_step_is_kept_but_not_sent() -> None:
    channel: Any = RecordingChannel()
    reporter: Any = Reporter(channel, 8, dict)
    reporter.on_log(None, state(0), None, {"eval_loss": 4.0})
    reporter.on_log(None, state(5), None, {"eval_loss": 2.0})
    assert [metric.step for metric in channel.sent if isinstance(metric, Metric)] == [5]
    assert (reporter.first_eval_loss, reporter.last_eval_loss) == (4.0, 2.0)


def test_a_loss_that_is_none_of_language_modelling_has_no_perplexity() -> None:
    channel: Any = RecordingChannel()
    reporter: Any = Reporter(channel, 8, dict, perplexities=False)
    reporter.on_log(None, state(3), None, {"loss": 1.0})
    reporter.on_log(None, state(3), None, {"eval_loss": 1.0})
    assert [
        (metric.train_perplexity, metric.perplexity, metric.eval_perplexity)
        for metric in channel.sent
    ] == [(None, None, None)] * 2


def test_the_last_step_is_always_logged() -> None:
    channel: Any = RecordingChannel()
    reporter: Any = Reporter(channel, 8, dict)
    for step, logged in ((9, False), (10, True)):
        flow = control()
        reporter.on_step_begin(None, state(step), flow)
        reporter.on_step_end(None, state(step), flow)
        assert flow.should_log is logged


@pytest.mark.parametrize(("more", "known"), [({"num_tokens": 300}, True), ({}, False)])
def test_tokens_that_nobody_counts_are_not_said_to_be_none(
    more: dict[str, float], known: bool
) -> None:
    channel: Any = RecordingChannel()
    reporter: Any = Reporter(channel, 8, dict)
    reporter.on_step_begin(None, state(1), control())
    reporter.on_step_end(None, state(1), control())
    reporter.on_log(None, state(1), None, {"loss": 1.0, **more})
    metric = channel.sent[-1]
    assert isinstance(metric, Metric)
    assert bool(metric.tokens_per_second) is known
    assert (metric.tokens_per_second is None) is not known


def test_gpu_figures_are_part_of_a_metric() -> None:
    channel: Any = RecordingChannel()
    reporter: Any = Reporter(channel, 8, lambda: {"gpu_utilization_percent": 97.0})
    reporter.on_log(None, state(3), None, {"loss": 1.0})
    [metric] = channel.sent
    assert isinstance(metric, Metric)
    assert metric.gpu_utilization_percent == 97.0


def test_a_cancel_stops_at_once_wherever_it_is_seen() -> None:
    channel: Any = RecordingChannel()
    listener: Any = Control(channel, stop_on_nan=True)
    channel.cancel_requested.set()
    flow = control()
    flow.should_save = flow.should_evaluate = True
    with pytest.raises(Stopped):
        listener.on_step_end(None, state(3), flow)
    with pytest.raises(Stopped):
        listener.on_prediction_step(None, state(3), flow)


def test_a_pause_before_the_first_step_ends_the_attempt_at_once() -> None:
    channel: Any = RecordingChannel()
    listener: Any = Control(channel, stop_on_nan=True)
    channel.pause_requested.set()
    for event in (listener.on_train_begin, listener.on_step_begin, listener.on_prediction_step):
        with pytest.raises(Paused):
            event(None, state(0), control())


def test_a_pause_asks_for_a_checkpoint_except_at_the_last_step() -> None:
    channel: Any = RecordingChannel()
    listener: Any = Control(channel, stop_on_nan=True)
    channel.pause_requested.set()
    flow = control()
    listener.on_step_end(None, state(10), flow)
    assert (listener.pausing, flow.should_save) == (False, False)
    listener.on_step_end(None, state(9), flow)
    assert (listener.pausing, flow.should_save, flow.should_log) == (True, True, False)


def test_a_pause_during_an_eval_comes_before_the_next_step() -> None:
    channel: Any = RecordingChannel()
    listener: Any = Control(channel, stop_on_nan=True)
    flow = control()
    listener.on_step_end(None, state(4), flow)
    channel.pause_requested.set()
    listener.on_prediction_step(None, state(4), flow)
    listener.on_evaluate(None, state(4), flow)
    assert (listener.pausing, flow.should_save) == (True, True)


def test_the_checkpoint_of_an_epochs_last_step_waits_for_the_epochs_end() -> None:
    channel: Any = RecordingChannel()
    listener: Any = Control(channel, stop_on_nan=True)
    flow = control()
    flow.should_save = True
    listener.on_step_end(None, state(5, epoch=1.0), flow)
    assert (flow.should_save, flow.should_log) == (False, True)
    channel.pause_requested.set()
    listener.on_evaluate(None, state(5, epoch=1.0), flow)
    assert not flow.should_save
    listener.on_epoch_end(None, state(5, epoch=1.0), flow)
    assert (listener.pausing, flow.should_save) == (True, True)


def test_a_pause_with_a_loss_that_is_no_number_logs_it_first() -> None:
    channel: Any = RecordingChannel()
    listener: Any = Control(channel, stop_on_nan=True, loss_sum=lambda: math.nan)
    channel.pause_requested.set()
    flow = control()
    listener.on_step_end(None, state(3), flow)
    assert flow.should_log


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
    channel: Any = RecordingChannel()
    arguments = SimpleNamespace(fp16=fp16)
    strict: Any = Control(channel, stop_on_nan=True)
    lenient: Any = Control(channel, stop_on_nan=False)
    lenient.on_log(arguments, state(3), None, logs)
    if diverges:
        with pytest.raises(Diverged, match="step 3"):
            strict.on_log(arguments, state(3), None, logs)
    else:
        strict.on_log(arguments, state(3), None, logs)


@pytest.mark.parametrize("stop_on_nan", [True, False])
def test_a_divergence_is_an_event_once(stop_on_nan: bool) -> None:
    channel: Any = RecordingChannel()
    listener: Any = Control(channel, stop_on_nan=stop_on_nan)
    arguments = SimpleNamespace(fp16=False)
    for step in (3, 4):
        with contextlib.suppress(Diverged):
            listener.on_log(arguments, state(step), None, {"loss": -math.inf})
        if stop_on_nan:
            break
    assert channel.sent == [Divergence(step=3, name="loss", value="-inf")]


@pytest.mark.parametrize(("stop_on_nan", "finite"), [(True, True), (False, False)])
def test_weights_are_only_refused_where_they_diverged_and_that_is_minded(
    stop_on_nan: bool, finite: bool
) -> None:
    channel: Any = RecordingChannel()
    Control(channel, stop_on_nan).check_weights(3, lambda: finite)
    assert channel.sent == []


def test_gpu_figures_are_sampled_by_a_thread_and_end_with_an_error() -> None:
    sampled, failed = threading.Event(), threading.Event()

    def sample() -> dict[str, float]:
        sampled.set()
        return {"gpu_utilization_percent": 50.0}

    figures = GpuFigures(sample)
    figures.start()
    assert sampled.wait(10)
    figures.stop()
    assert figures.latest() == {"gpu_utilization_percent": 50.0}

    def fail() -> dict[str, float]:
        failed.set()
        raise RuntimeError("the driver is gone")

    figures = GpuFigures(fail)
    figures.start()
    assert failed.wait(10)
    figures.stop()
    assert figures.latest() == {}


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("1,2", ("index", 1)), ("", ("index", 0)), ("GPU-abc", ("uuid", "GPU-abc"))],
)
def test_the_jobs_own_gpu_is_asked(
    visible: str, expected: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: ("index", index))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: ("uuid", uuid))
    assert device_handle(visible) == expected
