"""How a GPU is used: what is chosen on which machine, and the reason that the log gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tasks.arguments.build import Arguments
from tasks.arguments.machine import Machine
from tasks.errors import ModelError
from tasks.methods import parts
from tasks.methods.parts import Folders
from tests.support.arguments import CPU, GPU, arguments_on
from trainyard.contract.config import JobConfig, ModelConfig

FLASH = dataclasses.replace(GPU, flash_attention=True)
OLD = dataclasses.replace(FLASH, bf16=False)


def arguments(machine: Machine, model: dict[str, Any] | None = None, **training: Any) -> Arguments:
    return arguments_on(machine, training, model={"name": "m", **(model or {})})


def reason(found: Arguments, what: str) -> str:
    [said] = [reason for reason in found.reasons if reason.startswith(f"{what}: ")]
    return said.removeprefix(f"{what}: ")


def test_without_a_gpu_nothing_is_chosen() -> None:
    found = arguments(CPU, {"attn_implementation": "eager"}, torch_compile=True)
    assert (found.reasons, found.attention) == ((), "eager")
    assert "padding_free" not in found.values
    assert found.values["torch_compile"] is False
    assert [note.path for note in found.notes] == ["training.torch_compile"]


def test_a_modern_gpu_without_flash_attention() -> None:
    found = arguments(GPU)
    assert found.attention is None
    assert found.values["bf16"]
    assert "padding_free" not in found.values
    assert found.reasons == (
        "precision: bf16, which this GPU has",
        "optimizer: adamw_torch_fused, one kernel for all",
        "attention: sdpa, since flash-attn is not installed",
        "rows: padded to the longest of a batch; packing would spare that (training.packing)",
        "kernels: the model's own, since training.use_liger_kernel asks for none",
        "torch.compile: off, since training.torch_compile does not ask for it",
        "activation checkpointing: off, since training.gradient_checkpointing does not ask for it; "
        "it comes where memory is too small",
    )


@pytest.mark.parametrize("method", ["sft", "cpt"])
def test_flash_attention_needs_no_padding(method: str) -> None:
    found = arguments(FLASH, method=method, packing=False)
    assert (found.attention, found.values["padding_free"]) == ("flash_attention_2", True)
    assert reason(found, "attention") == "flash_attention_2, which is installed"
    assert "end to end without padding" in reason(found, "rows")


def test_packed_rows_and_pairs_are_left_as_they_are() -> None:
    packed, pairs = arguments(FLASH, packing=True), arguments(FLASH, method="dpo")
    for found in (packed, pairs):
        assert found.attention == "flash_attention_2"
        assert "padding_free" not in found.values
    assert reason(packed, "rows").startswith("packed into full sequences")
    assert reason(pairs, "rows").endswith("as the method needs")


@pytest.mark.parametrize(
    ("machine", "model", "training", "lora", "dtype", "why"),
    [
        (GPU, {}, {}, {}, "bfloat16", "it is frozen, and the adapter stays in float32"),
        (GPU, {"torch_dtype": "float32"}, {}, {}, "float32", "as asked"),
        (GPU, {}, {"bf16": False}, {}, "float32", "without bf16"),
        (OLD, {}, {}, {}, "float32", "without bf16"),
        (GPU, {}, {}, {"bias": "all"}, "float32", "weights of it are trained"),
    ],
)
def test_a_base_model_below_an_adapter_loads_in_half_precision(
    machine: Machine,
    model: dict[str, Any],
    training: dict[str, Any],
    lora: dict[str, Any],
    dtype: str,
    why: str,
) -> None:
    found = arguments_on(
        machine, {"use_lora": True, **training}, model={"name": "m", **model}, lora=lora
    )
    assert found.model_dtype == dtype
    assert reason(found, "base model") == f"{dtype}, {why}"


def test_a_model_that_is_trained_itself_stays_in_float32() -> None:
    assert arguments(GPU).model_dtype == "float32"
    assert arguments(CPU, use_lora=True).model_dtype == "float32"


def test_flash_attention_computes_in_half_precision_alone() -> None:
    found = arguments(FLASH, bf16=False)
    assert found.attention is None
    assert reason(found, "precision") == "float32, as asked"
    assert reason(found, "attention").startswith("sdpa, since flash-attn computes in half")
    assert arguments(OLD).attention is None
    old = arguments(OLD, bf16=True)
    assert reason(old, "precision") == "fp16: this GPU has no bfloat16"
    assert old.attention == "flash_attention_2"


def test_what_is_asked_for_is_done() -> None:
    asked = {"torch_compile": True, "gradient_checkpointing": True, "optim": "adamw_torch"}
    found = arguments(FLASH, {"attn_implementation": "sdpa"}, **asked)
    assert found.attention == "sdpa"
    assert found.values["torch_compile"]
    assert "padding_free" not in found.values
    assert reason(found, "attention") == "sdpa, as asked"
    assert reason(found, "optimizer") == "adamw_torch, as asked"
    assert reason(found, "torch.compile") == "on, as asked"
    assert reason(found, "activation checkpointing") == "on, as asked"


def test_a_model_without_the_chosen_attention_loads_with_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str | None] = []

    def load_model(*_: Any, attention: str | None, **__: Any) -> str:
        tried.append(attention)
        if attention:
            raise ModelError("it does not support Flash Attention 2")
        return "model"

    monkeypatch.setattr(parts, "load_model", load_model)
    folders = Folders(Path("m"), Path("m"), remote_code=False, base=ModelConfig(name="m"))
    config = JobConfig.model_validate({"model": {"name": "m"}})
    assert parts.load(folders, config, arguments(FLASH)) == "model"
    assert tried == ["flash_attention_2", None]
    asked = {"model": {"name": "m", "attn_implementation": "flash_attention_2"}}
    with pytest.raises(ModelError):
        parts.load(folders, JobConfig.model_validate(asked), arguments(FLASH, asked["model"]))
