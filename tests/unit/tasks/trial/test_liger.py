"""Liger's kernels are tried before they train: a double of the package, on real tiny models.

The package itself needs a GPU; what it does to a model, the double does: it gives the layers of an
instance another forward, and leaves the head alone if it is told to.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.integrations import liger as integration

from tasks.errors import ConfigurationError, ModelError
from tasks.trial.liger import use_liger
from tasks.trial.trial import hold
from tests.support.architectures import make_architecture
from tests.unit.tasks.trial.test_trial import trainer_of

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

MODEL = "AutoModelForCausalLM"


class Package:
    """What ``liger_kernel`` looks like; ``factor``: how wrong its norms are."""

    def __init__(self) -> None:
        self.factor = 1.0
        self.asked: list[dict[str, Any]] = []

    def apply(self, model: Any, **asked: Any) -> None:
        self.asked.append(asked)

        def forward(norm: Any, hidden: torch.Tensor) -> torch.Tensor:
            size = hidden.float().pow(2).mean(-1, keepdim=True) + norm.variance_epsilon
            scaled: torch.Tensor = norm.weight * (hidden.float() * torch.rsqrt(size))
            return scaled.to(hidden.dtype) * self.factor

        for module in model.modules():
            if type(module).__name__ == "LlamaRMSNorm":
                module.forward = types.MethodType(forward, module)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Package:
    double = Package()
    names = ("liger_kernel", "liger_kernel.transformers", "liger_kernel.transformers.monkey_patch")
    top, transformers, patches = map(types.ModuleType, names)
    vars(transformers)["_apply_liger_kernel_to_instance"] = double.apply
    vars(patches)["MODEL_TYPE_TO_APPLY_LIGER_FN"] = {"llama": double.apply}
    vars(top)["transformers"], vars(transformers)["monkey_patch"] = transformers, patches
    for name, module in zip(names, (top, transformers, patches), strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(integration, "is_liger_kernel_available", lambda: True)
    return double


def put_on(trainer: Any, *, required: bool = True) -> str:
    return use_liger(trainer, "it", "Liger 0.8.2, as asked", required=required)


@pytest.mark.parametrize("method", ["sft", "dpo", "rlhf"])
@pytest.mark.parametrize("use_lora", [False, True])
def test_the_layers_are_its_and_the_trial_holds_with_them(
    tmp_path: Path, package: Package, method: str, use_lora: bool
) -> None:
    make_architecture(tmp_path / "llama", "llama", MODEL)
    more = {"rlhf": {"reward_functions": ["answer"], "num_generations": 2}}
    training = {"use_lora": use_lora, **(more if method == "rlhf" else {})}
    trainer = trainer_of(tmp_path / "llama", tmp_path, method, **training)
    assert put_on(trainer) == "Liger 0.8.2, as asked"
    assert package.asked == [{"cross_entropy": False, "fused_linear_cross_entropy": False}]
    assert not trainer.args.use_liger_kernel, "nothing is put on a second time"
    found = hold(trainer, "it", compares=method != "sft")
    assert found.loss == pytest.approx(found.own_loss, rel=1e-3)


def test_kernels_that_compute_something_else_are_refused(tmp_path: Path, package: Package) -> None:
    make_architecture(tmp_path / "llama", "llama", MODEL)
    package.factor = 1.5
    with pytest.raises(ModelError, match="computes something else with Liger's kernels") as caught:
        put_on(trainer_of(tmp_path / "llama", tmp_path))
    assert "Leave config.training.use_liger_kernel out." in str(caught.value)


def test_a_model_that_it_has_none_for(tmp_path: Path, package: Package) -> None:
    make_architecture(tmp_path / "gpt2", "gpt2", MODEL)
    trainer = trainer_of(tmp_path / "gpt2", tmp_path)
    with pytest.raises(ConfigurationError, match="Liger has none for gpt2 models"):
        put_on(trainer)
    found = put_on(trainer, required=False)
    assert found == "the model's own, since Liger has none for gpt2 models"
    assert package.asked == []


def test_a_package_that_does_not_load_is_said(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_architecture(tmp_path / "llama", "llama", MODEL)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.monkey_patch", None)
    trainer = trainer_of(tmp_path / "llama", tmp_path)
    with pytest.raises(ConfigurationError, match=r"liger-kernel cannot be imported \("):
        put_on(trainer)
    assert "cannot be imported" in put_on(trainer, required=False)
