"""LoRA's targets: what an adapter leaves out is left out on purpose, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from tasks.models.lora import lora_settings, say_experts
from tests.support.architectures import make_architecture
from tests.unit.tasks.models.test_whole import load
from trainyard.contract.config import LoraConfig

pytestmark = [
    # PEFT reads a name of transformers that has another one now,
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
    # and looks for fused experts among the modules.
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys:RuntimeWarning"),
]


def adapted(model: Any, **lora: Any) -> set[str]:
    settings = lora_settings(LoraConfig(**lora), model)
    adapter = peft.get_peft_model(model, settings)
    say_experts(adapter)
    names = (name for name, _ in adapter.named_parameters())
    return {name.partition(".lora_A.")[0] for name in names if ".lora_A." in name}


def test_a_model_with_vision_is_adapted_in_its_language_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = make_architecture(tmp_path, "qwen3_5", "Qwen3_5ForConditionalGeneration")
    found = adapted(load(folder))
    assert any("language_model.layers.1.mlp.up_proj" in name for name in found)
    assert not any("visual" in name for name in found)
    assert "LoRA leaves out: model.visual" in caplog.text
    named = adapted(load(folder), target_modules=["up_proj", "linear_fc1"])
    assert named and not any("visual" in name for name in named)
    asked = adapted(load(folder), target_modules=["up_proj", "visual.blocks.0.mlp.linear_fc1"])
    assert any("visual" in name for name in asked)


def test_all_linear_layers_of_a_mamba_but_those_its_kernels_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = adapted(load(make_architecture(tmp_path, "mamba")))
    assert {name.rpartition(".")[2] for name in found} == {"in_proj", "x_proj", "dt_proj"}
    assert "LoRA leaves out: backbone.layers.*.mixer.out_proj" in caplog.text


@pytest.mark.parametrize(
    ("kind", "left_out"),
    [
        # PEFT takes the shared experts and the dense layers for the experts, and refuses dropout.
        ("dots1", "model.layers.*.mlp.shared_experts.gate_proj"),
        # A linear layer that returns two tensors.
        ("llama4_text", "model.layers.*.feed_forward.router"),
    ],
)
def test_linear_layers_that_peft_cannot_adapt_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, left_out: str
) -> None:
    caplog.set_level("INFO")
    model = load(make_architecture(tmp_path, kind))
    assert {name.rpartition(".")[2] for name in adapted(model)} >= {"q_proj", "o_proj"}
    assert left_out in caplog.text
    model(torch.arange(5, 15)[None])


def test_fused_experts_are_adapted_by_name_or_said_not_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_architecture(tmp_path, "mixtral")
    assert not any("experts" in name for name in adapted(load(folder)))
    assert "LoRA does not adapt the experts, 49,152 parameters in fused weights" in caplog.text
    assert "['mlp.experts.gate_up_proj', 'mlp.experts.down_proj']" in caplog.text
    caplog.clear()
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    assert any(
        "experts" in name for name in adapted(load(folder), target_parameters=names, dropout=0)
    )
    assert "experts" not in caplog.text


@pytest.mark.filterwarnings("ignore:target_modules=.* no module was matched:RuntimeWarning")
def test_experts_alone_are_adapted_beside_a_target_that_names_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(make_architecture(tmp_path, "mixtral"))
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    found = adapted(model, target_parameters=names, target_modules=["none"], dropout=0)
    assert found and all("experts" in name for name in found)
    assert "no module 'none'" in caplog.text


def test_a_pattern_of_the_experts_that_peft_converts_is_no_unknown_name(tmp_path: Path) -> None:
    model = load(make_architecture(tmp_path, "mixtral"))
    pattern = r".*\.experts\.(w1|w2|w3)"
    assert lora_settings(LoraConfig(target_modules=pattern), model).target_modules == pattern
    assert any("experts" in name for name in adapted(model, target_modules=pattern, dropout=0))
