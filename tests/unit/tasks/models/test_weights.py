"""Trained weights leave the file that they were mapped from, unchanged."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from tasks.models.weights import ALIGNMENT_BYTES, align_trained_weights
from tests.support.models import make_tiny_model


def test_trained_weights_are_moved_and_frozen_ones_stay(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    header = (tmp_path / "model.safetensors").open("rb")
    with header:
        begin = 8 + int.from_bytes(header.read(8), "little")
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    frozen = model.model.embed_tokens.weight.requires_grad_(False)
    was_at = frozen.data_ptr()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    moved = align_trained_weights(model)
    assert (moved > 0) == (begin % ALIGNMENT_BYTES > 0)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert trained and all(weight.data_ptr() % ALIGNMENT_BYTES == 0 for weight in trained)
    assert frozen.data_ptr() == was_at
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name
    assert align_trained_weights(model) == 0
