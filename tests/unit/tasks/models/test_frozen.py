"""Weights that a request freezes: by a module's name, a weight's, or a pattern."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from tasks.errors import ConfigurationError
from tasks.models.frozen import freeze


@pytest.fixture
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model)


@pytest.mark.parametrize(
    ("patterns", "frozen", "trained"),
    [
        ([], "", "embed_tokens"),
        (["model.embed_tokens"], "embed_tokens", "layers.0"),
        (["model.layers.0", "*.up_proj.weight"], "layers.0", "layers.1.self_attn"),
        (["model.layers.[0-1].mlp"], "mlp.", "self_attn"),
        (["model.norm.weight"], "model.norm", "layernorm"),
    ],
)
def test_what_matches_is_frozen(model: Any, patterns: list[str], frozen: str, trained: str) -> None:
    freeze(model, patterns)
    weights = dict(model.named_parameters())
    still = {name for name, weight in weights.items() if not weight.requires_grad}
    assert still >= {name for name in weights if frozen and frozen in name}
    assert still.isdisjoint(name for name in weights if trained in name)
    assert bool(still) == bool(patterns)


def test_what_is_tied_to_it_is_named(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    freeze(model, ["lm_head"])
    assert "Frozen by lm_head: 1 weights, and with them model.embed_tokens.weight" in caplog.text
    assert not model.model.embed_tokens.weight.requires_grad


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["embed_tokens"], "'embed_tokens' matches no weight of the model"),
        (["model", "lm_head"], "leaves no weight to train"),
    ],
)
def test_what_cannot_be_frozen_is_refused(model: Any, patterns: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        freeze(model, patterns)
