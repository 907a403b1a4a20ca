"""Two adapters as one: it adds to the base model what both do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.models.adapter import merged
from tasks.results.joined import join
from tests.support.models import load_adapter

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
IDS = torch.arange(2, 40)[None]


def trained(model: Any, seed: int, folder: Path, **settings: Any) -> Any:
    """An adapter that says something, saved."""
    torch.manual_seed(seed)
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    adapted.save_pretrained(folder)
    return adapted.eval()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"]},
         {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]}),
        ({"r": 3, "lora_alpha": 6, "use_rslora": True, "alpha_pattern": {"up_proj": 2},
          "rank_pattern": {"layers.1.self_attn.q_proj": 5},
          "target_modules": ["q_proj", "up_proj"]},
         {"r": 4, "lora_alpha": 9, "use_rslora": True, "target_modules": ["q_proj"]}),
    ],
)  # fmt: skip
def test_the_sum_says_what_the_new_one_says_on_the_merged_one(
    tiny_model: Path, tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    below = trained(base, 1, tmp_path / "below", **one)
    with torch.no_grad():
        alone = below(IDS).logits
    whole = merged(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "below", "below")
    assert all(weight.requires_grad for weight in whole.parameters())
    both = trained(whole, 2, tmp_path / "both", **other)
    with torch.no_grad():
        meant = both(IDS).logits
    join(tmp_path / "both", tmp_path / "below")
    with torch.no_grad():
        found = load_adapter(tiny_model, tmp_path / "both")(IDS).logits
    torch.testing.assert_close(found, meant, rtol=1e-4, atol=1e-4)
    assert (meant - alone).abs().max() > 0.01
    assert (
        json.loads((tmp_path / "both" / "adapter_config.json").read_bytes())["use_rslora"] is False
    )
