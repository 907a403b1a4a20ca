"""Metrics that the callbacks report."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tasks.callbacks.metrics import MethodFigures, MetricReporter, perplexity
from tests.support.callbacks import RecordingChannel, control, state
from trainyard.contract.events import Metric, StartEval


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(0.0, 1.0), (None, None), (math.nan, None), (math.inf, None), (5000.0, None)],
)
def test_perplexity_never_overflows(loss: float | None, expected: float | None) -> None:
    assert perplexity(loss) == expected


def test_values_that_are_not_finite_are_left_out() -> None:
    channel = RecordingChannel()
    reporter: Any = MetricReporter(channel, 8, dict)
    reporter.on_log(None, state(3), None, {"loss": math.nan, "grad_norm": math.inf})
    [metric] = channel.sent
    assert isinstance(metric, Metric)
    assert (metric.train_loss, metric.grad_norm, metric.step) == (None, None, 3)


def test_the_eval_before_the_first_step_is_kept_and_no_point() -> None:
    channel = RecordingChannel()
    reporter: Any = MetricReporter(channel, 8, dict)
    reporter.on_log(None, state(0), None, {"eval_loss": 4.0})
    reporter.on_log(None, state(5), None, {"eval_loss": 2.0})
    before, metric = channel.sent
    assert before == StartEval(eval_loss=4.0)
    assert isinstance(metric, Metric)
    assert metric.step == 5
    assert (reporter.first_eval_loss, reporter.last_eval_loss) == (4.0, 2.0)


def test_the_first_eval_of_a_training_that_has_begun_says_nothing_of_before() -> None:
    reporter: Any = MetricReporter(RecordingChannel(), 8, dict)
    history = [{"eval_loss": 3.0, "step": 2}]
    reporter.on_train_begin(None, state(2, log_history=history), None)
    reporter.on_log(None, state(5), None, {"eval_loss": 2.0})
    assert (reporter.first_eval_loss, reporter.last_eval_loss) == (None, 2.0)
    history.insert(0, {"eval_loss": 4.0, "step": 0})
    reporter.on_train_begin(None, state(5, log_history=history), None)
    assert reporter.first_eval_loss == 4.0


def test_a_loss_that_is_none_of_language_modelling_has_no_perplexity() -> None:
    channel = RecordingChannel()
    reporter: Any = MetricReporter(channel, 8, dict, perplexities=False)
    reporter.on_log(None, state(3), None, {"loss": 1.0})
    reporter.on_log(None, state(3), None, {"eval_loss": 1.0})
    assert [
        (metric.train_perplexity, metric.perplexity, metric.eval_perplexity)
        for metric in channel.sent
    ] == [(None, None, None)] * 2


def test_the_last_step_is_always_logged() -> None:
    channel = RecordingChannel()
    reporter: Any = MetricReporter(channel, 8, dict)
    for step, logged in ((9, False), (10, True)):
        flow = control()
        reporter.on_step_begin(None, state(step), flow)
        reporter.on_step_end(None, state(step), flow)
        assert flow.should_log is logged


@pytest.mark.parametrize(("more", "known"), [({"num_tokens": 300}, True), ({}, False)])
def test_tokens_that_nobody_counts_are_not_said_to_be_none(
    more: dict[str, float], known: bool
) -> None:
    channel = RecordingChannel()
    reporter: Any = MetricReporter(channel, 8, dict)
    reporter.on_step_begin(None, state(1), control())
    reporter.on_step_end(None, state(1), control())
    reporter.on_log(None, state(1), None, {"loss": 1.0, **more})
    metric = channel.sent[-1]
    assert isinstance(metric, Metric)
    assert bool(metric.tokens_per_second) is known
    assert (metric.tokens_per_second is None) is not known


def test_gpu_figures_are_part_of_a_metric() -> None:
    channel = RecordingChannel()
    reporter: Any = MetricReporter(channel, 8, lambda: {"gpu_utilization_percent": 97.0})
    reporter.on_log(None, state(3), None, {"loss": 1.0})
    [metric] = channel.sent
    assert isinstance(metric, Metric)
    assert metric.gpu_utilization_percent == 97.0


def test_a_routers_loss_is_logged_beside_the_loss(caplog: pytest.LogCaptureFixture) -> None:
    logs = {"eval_loss": 5.5, "eval_aux_loss": 2.03}
    with caplog.at_level("INFO"):
        MethodFigures().on_log(None, state(3), control(), logs)
    assert caplog.messages == ["step 3, eval router's auxiliary loss 2.03"]
