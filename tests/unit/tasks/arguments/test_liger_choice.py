"""Liger's kernels: asked for, wished for, or neither, on machines with and without them."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from typing import Any

import pytest

from tasks.arguments.build import Arguments
from tasks.arguments.machine import Machine, liger_version
from tasks.errors import ConfigurationError
from tests.support.arguments import CPU, GPU, arguments_on
from trainyard.contract.methods import METHODS

LIGER = dataclasses.replace(GPU, liger="0.8.2")
SUPPORTED = ("sft", "cpt", "dpo", "kto", "rlhf", "grpo")
FSDP = {"distributed": {"processes": 2, "strategy": "fsdp"}}


def arguments(machine: Machine, asked: Any, method: str = "sft", **training: Any) -> Arguments:
    rlhf = {"rlhf": {"reward_functions": ["answer"]}} if METHODS[method].samples_answers else {}
    asked_for = {"method": method, "use_liger_kernel": asked, **rlhf}
    return arguments_on(machine, training | asked_for)


def test_those_that_trl_has_it_for() -> None:
    taking = {name for name, how in METHODS.items() if "use_liger_kernel" in how.settings}
    assert taking == set(SUPPORTED)


@pytest.mark.parametrize("method", SUPPORTED)
@pytest.mark.parametrize("asked", [True, "auto"])
def test_where_they_are_they_are_used(method: str, asked: Any) -> None:
    found = arguments(LIGER, asked, method)
    assert found.kernels.liger
    assert found.kernels.why == f"Liger 0.8.2, {'as asked' if asked is True else 'installed'}"
    assert f"kernels: {found.kernels.why}" in found.reasons
    assert "use_liger_kernel" not in found.values, "the Trainer would put them on after the trial"


@pytest.mark.parametrize("asked", [False, "auto", True])
@pytest.mark.parametrize("method", sorted(set(METHODS) - set(SUPPORTED)))
def test_other_methods_leave_the_model_as_it_is(method: str, asked: Any) -> None:
    found = arguments(LIGER, asked, method)
    assert not found.kernels.liger
    noted = [str(note) for note in found.notes if note.path == "training.use_liger_kernel"]
    assert bool(noted) is bool(asked)
    assert all("it belongs to sft and cpt and dpo" in text for text in noted)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (CPU, "needs a CUDA GPU, and there is none"),
        (GPU, r"needs the package liger-kernel \(0.8.2 or newer\).*install it on the worker"),
    ],
)
def test_what_is_asked_for_and_lacking_is_refused_with_the_mend(
    machine: Machine, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        arguments(machine, True)
    assert "leave it out, or send 'auto'" in str(caught.value)


def test_not_for_a_model_that_is_shared_out() -> None:
    with pytest.raises(ConfigurationError, match="is not for fsdp"):
        arguments(LIGER, True, **FSDP)
    found = arguments(LIGER, "auto", **FSDP).kernels
    assert found.why == "the model's own, since fsdp takes no others"


def test_what_is_wished_for_and_lacking_is_said() -> None:
    on_a_gpu, on_a_cpu = arguments(GPU, "auto"), arguments(CPU, "auto")
    why = "the model's own, since liger-kernel (0.8.2 or newer) is not installed"
    assert (on_a_gpu.kernels.liger, on_a_gpu.kernels.why) == (False, why)
    assert f"kernels: {why}" in on_a_gpu.reasons
    assert on_a_cpu.kernels.why == "the model's own, since there is no CUDA GPU"
    assert [str(note) for note in on_a_cpu.notes] == [
        "Adjusted: config.training.use_liger_kernel: auto → false: "
        "the model's own, since there is no CUDA GPU"
    ]


@pytest.mark.parametrize(
    ("version", "found"), [("0.8.2", "0.8.2"), ("0.10.0", "0.10.0"), ("0.8.1", ""), (None, "")]
)
def test_an_old_package_is_none(
    monkeypatch: pytest.MonkeyPatch, version: str | None, found: str
) -> None:
    def installed(_: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)
    assert liger_version() == found
