"""New tokens: one number each, rows that begin as the mean, and adapters that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tasks.errors import ConfigurationError
from tasks.models.embeddings import add_to_model
from tasks.models.load import add_to_tokenizer
from tasks.models.lora import lora_settings
from trainyard.contract.config import JobConfig, LoraConfig, TokenizerConfig

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def job(**training: Any) -> JobConfig:
    return JobConfig.model_validate({"model": {"name": "tiny"}, "training": training})


def model_of(rows: int, *, tied: bool) -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = LlamaConfig(vocab_size=rows, num_attention_heads=2, tie_word_embeddings=tied, **shape)
    return LlamaForCausalLM(config).eval()


def test_each_stands_for_its_text_wherever_that_occurs(tokenizer: Any) -> None:
    before = len(tokenizer)
    known = tokenizer.eos_token
    asked = TokenizerConfig(add_tokens=["<call>", known, "<call>"], add_special_tokens=["<end!>"])
    assert add_to_tokenizer(tokenizer, asked) == (before, before + 1)
    ids = tokenizer("a<call>b <end!>", add_special_tokens=False)["input_ids"]
    assert (ids.count(before), ids.count(before + 1)) == (1, 1)
    assert "<call>" in tokenizer.decode(ids, skip_special_tokens=True)
    assert "<end!>" not in tokenizer.decode(ids, skip_special_tokens=True)
    assert add_to_tokenizer(tokenizer, asked) == (), "a second time changes nothing"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [60, 64])
def test_rows_begin_as_the_mean_of_those_that_were_there(rows: int, *, tied: bool) -> None:
    model = model_of(rows, tied=tied)
    weights = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    means = [weight[:60].mean(dim=0).clone() for weight in weights]
    add_to_model(model, (60, 61), job())
    assert model.get_input_embeddings().num_embeddings == max(rows, 62) == model.config.vocab_size
    after = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    assert (after[0] is after[1]) is tied
    for weight, mean in zip(after, means, strict=True):
        for row in (60, 61):
            torch.testing.assert_close(weight[row], mean)


def test_a_head_s_bias_begins_as_the_mean_too() -> None:
    model = model_of(60, tied=False)
    model.lm_head.bias = torch.nn.Parameter(torch.arange(60.0))
    add_to_model(model, (60, 61), job())
    assert model.get_output_embeddings().bias[60:].tolist() == [29.5, 29.5]


@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_holds_the_rows_of_new_tokens_alone(tmp_path: Path, *, tied: bool) -> None:
    model_of(64, tied=tied).save_pretrained(tmp_path / "base")
    model = LlamaForCausalLM.from_pretrained(tmp_path / "base")
    add_to_model(model, (60, 61), job(use_lora=True))
    adapted = peft.get_peft_model(
        model, lora_settings(LoraConfig(dropout=0.0), model, new_tokens=(60, 61))
    )
    optimizer = torch.optim.AdamW([w for w in adapted.parameters() if w.requires_grad], lr=0.05)
    ids = torch.tensor([[1, 60, 2, 61, 3, 4]])
    for _ in range(3):
        adapted(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = adapted.eval()(input_ids=ids).logits
    adapted.save_pretrained(tmp_path / "adapter")
    base = LlamaForCausalLM.from_pretrained(tmp_path / "base")
    again = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(again(input_ids=ids).logits, trained)
    merged = again.merge_and_unload()
    torch.testing.assert_close(merged(input_ids=ids).logits, trained, rtol=1e-4, atol=1e-4)
    bytes_there = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    bytes_of_all_rows = 64 * 16 * 4
    without = peft.get_peft_model(model_of(64, tied=tied), lora_settings(LoraConfig(), base))
    without.save_pretrained(tmp_path / "without")
    plain = (tmp_path / "without" / "adapter_model.safetensors").stat().st_size
    assert bytes_there - plain < bytes_of_all_rows / 2


def test_an_adapter_that_lacks_room_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="need 2 more rows of embeddings"):
        add_to_model(model_of(60, tied=True), (60, 61), job(use_lora=True))
