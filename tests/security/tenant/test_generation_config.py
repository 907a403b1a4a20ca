"""Generation settings that a model's own files bring: they multiply no work of the worker's."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM

from tasks.callbacks.predictions import Predictions
from trainyard.contract.config import PredictionsConfig


def test_a_sample_is_one_answer(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, num_hidden_layers=1, **sizes))
    model.generation_config.update(num_beams=4000, num_return_sequences=4000)
    rows: list[int] = []
    model.register_forward_pre_hook(
        lambda _, args, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    trainer: Any = SimpleNamespace(
        compute_loss_context_manager=nullcontext, processing_class=SimpleNamespace(pad_token_id=0)
    )
    asked = PredictionsConfig(max_new_tokens=2)
    answer = Predictions(trainer, SimpleNamespace(), [], asked, tmp_path)._answer(model, [1, 2])
    assert 1 <= len(answer) <= 2
    assert set(rows) == {1}
