"""Steps of an adapter's variants, and of noise on embeddings, against their formulas."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from torch.func import functional_call
from transformers import TrainerCallback

from tasks.errors import ConfigurationError
from tasks.models.lora import lora_settings
from tests.support.plain_losses import ROWS, nll
from tests.support.tiny_trainers import tiny, trainer
from trainyard.contract.config import LoraConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),  # within trl
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
]
R, ALPHA, LEARNING_RATE = 4, 8, 0.1
WHOLE = {"max_steps": 1, "per_device_train_batch_size": len(ROWS), "learning_rate": LEARNING_RATE}


def weight_of(base: Any, layer: str, part: dict[str, torch.Tensor], lora: LoraConfig) -> Any:
    """W + s B A with s = alpha / r (arXiv:2106.09685, sec. 4.1) or alpha / sqrt(r) (2312.03732);
    of DoRA (2402.09353, eq. 5 and sec. 4.3) m (W + s B A) / its length, which has no gradient."""
    scale = ALPHA / (math.sqrt(R) if lora.use_rslora else R)
    weight = base.get_parameter(f"{layer}.weight").detach()
    moved = weight + scale * part["lora_B.weight"] @ part["lora_A.weight"]
    if not lora.use_dora:
        return moved
    length = moved.norm(dim=1, keepdim=True).detach()
    return part["lora_magnitude_vector"][:, None] * moved / length


class ByHand:
    """The base model with the adapter's weights put into its own."""

    def __init__(self, base: Any, adapter: dict[str, torch.Tensor], lora: LoraConfig) -> None:
        layers: dict[str, dict[str, torch.Tensor]] = {}
        self.base, self.weights = base, dict[str, torch.Tensor]()
        for name, weight in adapter.items():
            layer, lora_, part = name.removeprefix("base_model.model.").partition(".lora_")
            if lora_:
                layers.setdefault(layer, {})[f"lora_{part}"] = weight
            else:
                self.weights[layer] = weight
        for layer, parts in layers.items():
            self.weights[f"{layer}.weight"] = weight_of(base, layer, parts, lora)

    def __call__(self, **inputs: Any) -> Any:
        return SimpleNamespace(logits=functional_call(self.base, self.weights, (), inputs).logits)


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"use_rslora": True, "init": "gaussian"},
        {"use_dora": True},
        {"init": "orthogonal", "use_dora": True, "use_rslora": True},
        {"modules_to_save": ["lm_head"]},
    ],
    ids=lambda variant: "-".join(variant) or "plain",
)
def test_a_step_of_an_adapter_is_that_of_its_formula(
    variant: dict[str, Any], tiny_model: Path
) -> None:
    base = tiny("llama")
    lora = LoraConfig(r=R, alpha=ALPHA, dropout=0, **variant)
    torch.manual_seed(3)
    adapted = peft.get_peft_model(copy.deepcopy(base), lora_settings(lora, base))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:  # as after some steps
            weight.data.add_(0.05 * torch.randn_like(weight))
    before = {
        name: weight.detach().clone().requires_grad_()
        for name, weight in peft.get_peft_model_state_dict(adapted).items()
    }
    gradients = torch.autograd.grad(nll(ByHand(base, before, lora)), list(before.values()))
    made = trainer("sft", adapted, ROWS, tiny_model, **WHOLE)
    made.train()
    after = peft.get_peft_model_state_dict(made.model)
    assert after.keys() == before.keys()
    for (name, weight), gradient in zip(before.items(), gradients, strict=True):
        torch.testing.assert_close(after[name], weight - LEARNING_RATE * gradient)
        assert gradient.abs().max() > 0, name


def test_what_is_trained_whole_has_no_adapter_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model = tiny("llama")
    settings = lora_settings(LoraConfig(modules_to_save=["layers.0.mlp.up_proj"]), model)
    assert "model.layers.0.mlp.up_proj" not in settings.target_modules
    assert "model.layers.1.mlp.up_proj" in settings.target_modules
    named = lora_settings(LoraConfig(modules_to_save=["norm"], target_modules=["q_proj"]), model)
    assert list(named.modules_to_save) == ["model.norm"]
    with pytest.raises(ConfigurationError, match="the model has no module 'head'"):
        lora_settings(LoraConfig(modules_to_save=["head"]), model)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["q_prj"], "the model has no module 'q_prj' (did you mean q_proj?)"),
        ("q_proj", "no module's whole name matches 'q_proj' (did you mean [\"q_proj\"]?)"),
        ("q_prj, v_proj", 'matches \'q_prj, v_proj\' (did you mean ["q_proj", "v_proj"]?)'),
    ],
)
def test_a_target_that_the_model_has_not_is_refused_with_a_guess(
    targets: list[str] | str, said: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        lora_settings(LoraConfig(target_modules=targets), tiny("llama"))
    assert said in refused.value.sentence
    assert "q_proj, k_proj, v_proj, o_proj" in refused.value.mend


def test_a_text_of_targets_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'\*_proj' is no regular expression: nothing"):
        lora_settings(LoraConfig(target_modules="*_proj"), tiny("llama"))


def test_all_linear_is_read_in_capitals_too() -> None:
    asked = lora_settings(LoraConfig(target_modules="All-Linear"), tiny("llama"))
    assert asked.target_modules == lora_settings(LoraConfig(), tiny("llama")).target_modules


def test_one_target_of_several_that_the_model_has_not_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = ["q_proj", "self_attn.k_proj", "model.layers.0.mlp.up_proj", "v_prj"]
    lora_settings(LoraConfig(target_modules=asked), tiny("llama"))
    [said] = [one.getMessage() for one in caplog.records if "target_modules" in one.getMessage()]
    assert "no module 'v_prj' (did you mean v_proj?)" in said
    assert lora_settings(LoraConfig(target_modules=r".*\.q_proj"), tiny("llama"))


class Listener(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked
    """Hears what the embeddings give, once the training has added to it: (training, noise)."""

    def __init__(self) -> None:
        self.heard: list[tuple[bool, torch.Tensor]] = []

    def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
        model.get_input_embeddings().register_forward_hook(self._hear)

    def _hear(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        clean = torch.nn.functional.embedding(inputs[0], module.weight)
        self.heard.append((module.training, (output - clean).detach()))


def test_noise_on_embeddings_is_uniform_within_its_bounds(tiny_model: Path) -> None:
    """alpha / sqrt(L d) on each side (arXiv:2310.05914, algorithm 1), in training only."""
    settings = {**WHOLE, "neftune_noise_alpha": 5.0, "eval_strategy": "steps", "eval_steps": 1}
    made, listener = trainer("sft", tiny("llama"), ROWS, tiny_model, **settings), Listener()
    made.add_callback(listener)
    made.train()
    [noise] = [noise for training, noise in listener.heard if training]
    _, length, size = noise.shape
    bound = 5.0 / math.sqrt(length * size)
    assert 0.99 * bound < noise.abs().max() <= bound * (1 + 1e-5)
    assert abs(float(noise.std()) - bound / math.sqrt(3)) < 0.02 * bound
    silent = [noise for training, noise in listener.heard if not training]
    assert silent and not any(noise.any() for noise in silent)
