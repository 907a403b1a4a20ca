"""The probe of a slot: what every training needs, or the reason why the slot is of no use."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

from tasks import probe
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import Outcome, ProbeSpec


def test_it_trains_a_step_and_says_where(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, ours.makefile("rb") as answers:
        ours.sendall(ProbeSpec(home=str(tmp_path)).model_dump_json().encode() + b"\n")
        assert probe.main(theirs.detach()) == 0
        outcome = Outcome.model_validate_json(answers.readline())
    assert outcome.outcome == "completed"
    assert outcome.result["device"]
    assert not list(tmp_path.iterdir())


def test_a_home_that_is_gone_is_named(tmp_path: Path) -> None:
    outcome = probe.try_slot(ProbeSpec(home=str(tmp_path / "gone")))
    assert outcome.error is not None
    assert outcome.error.message == (
        f"{tmp_path / 'gone'} cannot be written to (No such file or directory)"
    )


def test_nothing_trains_on_the_cpu_where_a_gpu_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12040).")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", too_old)
    outcome = probe.try_slot(ProbeSpec(home=str(tmp_path), gpu_expected="NVML shows a GPU"))
    assert outcome.error is not None
    assert outcome.error.kind is ErrorKind.DEVICE
    assert outcome.error.message == (
        "NVML shows a GPU, and torch cannot use it: The NVIDIA driver on your system is too old "
        "(found version 12040)."
    )


def test_a_device_that_fails_in_the_step_is_the_device_s_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: GPU is lost\nCUDA kernel errors might be reported later")

    monkeypatch.setattr(torch, "ones", lost)
    outcome = probe.try_slot(ProbeSpec(home=str(tmp_path)))
    assert outcome.error is not None
    assert outcome.error.kind is ErrorKind.DEVICE
    assert outcome.error.message == "The GPU cannot be used: CUDA error: GPU is lost"
