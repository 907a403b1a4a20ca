"""Tiny models of several architectures, random but the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.tokenizers import make_tokenizer

POSITIONS = 128
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}
_BERT = {**_LLAMA, "num_key_value_heads": 4}
_EXPERTS = {**_LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2}
SIZES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "bert": _BERT,
    "roberta": {**_BERT, "max_position_embeddings": POSITIONS + 2},
    "bart": {
        **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64},
        **{"decoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_attention_heads": 4},
    },
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": POSITIONS},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "mixtral": _EXPERTS,
    "dots1": {
        **{**_BERT, "moe_intermediate_size": 32, "n_routed_experts": 4, "first_k_dense_replace": 1},
        **{"n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    },
    "llama4_text": {**_EXPERTS, "intermediate_size_mlp": 64, "head_dim": 8},
    "modernbert-decoder": {**_BERT, "local_attention": 16},
    "qwen3_5": {},
    "qwen2_5_vl": {},
}
_VISION = {
    **{"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4},
    **{"out_hidden_size": 32, "patch_size": 14},
}
_LINEAR_ATTENTION = {
    **{"layer_types": ["full_attention"] * 2, "head_dim": 8},
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 2},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
}
_ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}


def make_architecture(
    folder: Path, kind: str, head: str = "AutoModelForCausalLM", **changes: Any
) -> Path:
    """Write a tiny model of ``kind`` (a ``model_type``) with a byte-level tokenizer; its folder.

    ``head``: the class of transformers; ``changes``: to the configuration. Weights are drawn wide
    enough for a wrong one to show.
    """
    # Late: tests of the worker and the bridge import tests.support without torch.
    import torch
    import transformers

    tokenizer = make_tokenizer()
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    values: dict[str, Any] = {**SIZES[kind], **ids, **changes}
    if kind.startswith("qwen3_5") or kind.endswith("_vl"):
        values = {**_with_vision(kind, ids), **changes}
    config = transformers.AutoConfig.for_model(kind, **values)
    make = getattr(transformers, head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make.from_config(config) if head.startswith("Auto") else make(config)
        for weight in model.parameters():
            weight.data.add_(torch.randn_like(weight), alpha=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _with_vision(kind: str, ids: dict[str, Any]) -> dict[str, Any]:
    more = _LINEAR_ATTENTION if kind == "qwen3_5" else {"rope_parameters": _ROPE}
    vision = (
        {"num_position_embeddings": 16} if kind == "qwen3_5" else {"fullatt_block_indexes": [0]}
    )
    size = ids["vocab_size"]
    return {
        "text_config": {**_LLAMA, **more, **ids, "vocab_size": size + 4},
        "vision_config": {**_VISION, **vision},
        **{"vision_start_token_id": size, "vision_end_token_id": size + 1},
        **{"image_token_id": size + 2, "video_token_id": size + 3, "tie_word_embeddings": True},
    }
