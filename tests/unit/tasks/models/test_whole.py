"""A model is loaded whole, as the class it came from, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.errors import ModelError
from tasks.models.load import load_config, load_model, load_tokenizer
from tests.support.architectures import make_architecture
from trainyard.contract.config import JobConfig

Weights = dict[str, torch.Tensor]
JOB = JobConfig.model_validate({"model": {"name": "it"}})


def load(folder: Path) -> Any:
    load_config(folder, "it", False)
    return load_model(
        folder, JOB, dtype="float32", quantization=None, attention=None, trust_remote_code=False
    )


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return make_architecture(tmp_path / "llama", "llama", tie_word_embeddings=False)


def change(folder: Path, how: Callable[[Weights], Weights]) -> None:
    path = folder / "model.safetensors"
    # Read into memory: the file is written over.
    weights = {name: weight.clone() for name, weight in load_file(path).items()}
    save_file(how(weights), path, metadata={"format": "pt"})


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: w for name, w in weights.items() if part not in name}


def halved(weights: Weights) -> Weights:
    return {n: w[:5].clone() if "lm_head" in n else w for n, w in weights.items()}


def with_more(*names: str) -> Callable[[Weights], Weights]:
    return lambda weights: {**weights, **{name: torch.ones(2) for name in names}}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (without("layers.1.mlp"), r"lack model\.layers\.1\.mlp\.down_proj\.weight, .*random"),
        (without("lm_head"), r"lack lm_head\.weight"),
        (halved, r"another shape .*lm_head\.weight \(5 x 32 where \d+ x 32 is meant\)"),
        (with_more("model.layers.7.mlp.up_proj.weight"), r"no place for: model\.layers\.7"),
    ],
    ids=["a layer's MLP", "the head", "a shape", "a layer too many"],
)
def test_weights_that_are_not_the_model_s_are_refused(
    llama: Path, how: Callable[[Weights], Weights], said: str
) -> None:
    change(llama, how)
    with pytest.raises(ModelError, match=said):
        load(llama)


def test_what_older_versions_saved_beside_the_weights_is_harmless(llama: Path) -> None:
    names = "rotary_emb.inv_freq", "model.layers.0.self_attn.rotary_emb.inv_freq", "v_head.weight"
    change(llama, with_more(*names))
    assert type(load(llama)).__name__ == "LlamaForCausalLM"


def test_a_broken_shard_is_named(llama: Path) -> None:
    load(llama).save_pretrained(llama, max_shard_size="40KB")
    (llama / "model.safetensors").unlink()
    last = sorted(llama.glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(ModelError, match=f"The file {last.name} of the model 'it' cannot be read"):
        load(llama)


@pytest.mark.parametrize(
    ("kind", "head", "said"),
    [
        ("t5", "T5ForConditionalGeneration", r"T5ForConditionalGeneration\) is an encoder-decoder"),
        ("bart", "BartForConditionalGeneration", "is an encoder-decoder"),
        ("llama", "LlamaForSequenceClassification", "classifies whole texts"),
        ("bert", "BertForMaskedLM", "fills gaps"),
        ("roberta", "RobertaForMaskedLM", "fills gaps"),
    ],
)
def test_another_kind_of_model_is_refused_by_name(
    tmp_path: Path, kind: str, head: str, said: str
) -> None:
    folder = make_architecture(tmp_path, kind, head)
    with pytest.raises(ModelError, match=said) as refused:
        load_config(folder, "it", False)
    assert "causal language model" in refused.value.mend


def test_a_class_that_would_be_another_is_refused(llama: Path) -> None:
    configure(llama, architectures=["MistralForCausalLM"])
    with pytest.raises(ModelError, match="saved, as LlamaForCausalLM, which is another class"):
        load(llama)


@pytest.mark.parametrize("named", [["LlamaModel"], ["LLaMAForCausalLM"], None])
def test_a_name_that_means_the_same_class_is_no_other(llama: Path, named: Any) -> None:
    configure(llama, architectures=named)
    assert type(load(llama)).__name__ == "LlamaForCausalLM"


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("qwen3_5", "Qwen3_5ForConditionalGeneration"),
        ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"),
    ],
)
def test_a_model_with_vision_is_kept_whole(
    tmp_path: Path, kind: str, head: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_architecture(tmp_path / "base", kind, head)
    caplog.set_level("INFO")
    model = load(folder)
    assert type(model).__name__ == head
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen and all("visual" in name for name in frozen)
    assert trained and all("visual" not in name for name in trained)
    assert "is kept whole" in caplog.text and "model.visual" in caplog.text
    model.save_pretrained(tmp_path / "result")
    before = load_file(folder / "model.safetensors")
    after = load_file(tmp_path / "result" / "model.safetensors")
    assert before.keys() == after.keys()


def test_a_folder_without_a_tokenizer_is_said_in_a_sentence(llama: Path) -> None:
    for path in llama.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelError, match="has no tokenizer: its folder holds none of"):
        load_tokenizer(llama, JOB, False)


def test_a_package_that_lacks_is_to_be_installed(llama: Path) -> None:
    configure(llama, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128})
    with pytest.raises(ModelError, match="optimum") as caught:
        load(llama)
    assert caught.value.mend.startswith("Install the package")
