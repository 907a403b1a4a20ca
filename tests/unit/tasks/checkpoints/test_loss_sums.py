"""Sums in a checkpoint: back to the bit, also out of an older one that has fewer of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tasks.checkpoints.loss_sums import LossSums
from tasks.methods.counting.sums import Sums

TOTALS = {"nll": torch.tensor(1 / 3), "tokens": torch.tensor(7), "seen": torch.tensor(11)}


def trainer(sums: Sums) -> Any:
    return SimpleNamespace(
        _tr_loss=torch.tensor(0.1),
        _total_loss_scalar=2.5,
        _globalstep_last_logged=4,
        _metrics={"train": {}},
        _total_train_tokens=100,
        args=SimpleNamespace(device=torch.device("cpu")),
        open_sums=sums.read,
        put_back_sums=lambda known: sums.put_back(known, torch.device("cpu")),
    )


def test_a_resume_goes_on_to_the_bit(tmp_path: Path) -> None:
    straight, paused, resumed = Sums(), Sums(), Sums()
    for one in (straight, paused):
        one.add(TOTALS)
    LossSums.of(trainer(paused)).write(tmp_path / "loss_sums.json")
    LossSums.read(tmp_path / "loss_sums.json").restore(trainer(resumed))
    for one in (straight, resumed):
        one.add(TOTALS)
    assert resumed.read() == straight.read()
    assert resumed.read()["tokens"] == 14


def test_what_was_summed_up_before_is_put_away() -> None:
    """As the check of the longest rows leaves it."""
    sums = Sums()
    before = LossSums.of(trainer(sums))
    sums.add(TOTALS)
    before.restore(trainer(sums))
    assert sums.read() == {}


def test_an_older_checkpoint_has_none(tmp_path: Path) -> None:
    old = {"loss": 0.5, "total_loss": 1.0, "last_logged_step": 3, "metrics": {}, "tokens": 9}
    (tmp_path / "loss_sums.json").write_text(json.dumps(old))
    sums = Sums()
    resumed = trainer(sums)
    LossSums.read(tmp_path / "loss_sums.json").restore(resumed)
    assert (sums.read(), resumed._total_train_tokens) == ({}, 9)
