"""Optimizers and schedules that cannot be made are errors of the configuration, before the load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments

from tasks.errors import ConfigurationError
from tasks.trial.dry_build import build_on_dummy


def build(tmp_path: Path, **arguments: Any) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], **arguments)
    build_on_dummy(args, total_steps=20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"optim": "lion_32bit"}, "optim 'lion_32bit' cannot be made .*bitsandbytes"),
        ({"optim": "galore_adamw"}, "galore_torch"),
        ({"optim": "adafactor", "optim_args": "warmth=3"}, "adafactor does not take 'warmth'"),
        ({"optim": "sgd", "optim_args": "momentum=0.9,nesterow=1"}, "does not take 'nesterow'"),
        ({"optim": "sgd", "optim_args": "momentum=much"}, "cannot be made .*much"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr.* takes in .*min_lr, min_lr_rate"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "num_decay_steps"),
        ({"lr_scheduler_kwargs": {"power": 2}}, "linear does not take power. It takes: nothing"),
        (
            {"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"factor": 2}},
            "constant does not take factor",
        ),
    ],
)
def test_what_cannot_be_made_is_a_configuration_error(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        build(tmp_path, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"optim": "sgd", "optim_args": "momentum=0.9, nesterov=true"},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 5}},
        {
            "lr_scheduler_type": "reduce_lr_on_plateau",
            "lr_scheduler_kwargs": {"factor": 0.5},
            "eval_strategy": "epoch",
        },
    ],
)
def test_what_has_its_arguments_is_made(tmp_path: Path, arguments: dict[str, Any]) -> None:
    build(tmp_path, **arguments)


def test_a_setting_of_adam_s_that_the_optimizer_has_not_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path, optim="sgd", adam_beta1=0.5)
    assert "Ignored: config.training.adam_beta1: sgd has none" in caplog.text
    caplog.clear()
    build(tmp_path, adam_beta1=0.5)
    build(tmp_path, optim="sgd")  # a stored request has every setting
    assert not caplog.text
