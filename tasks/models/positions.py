"""Positions of a model: the longest row that it has places for."""

from __future__ import annotations

from typing import Any

NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "max_seq_length",
    "seq_length",
    "seq_len",
    "n_ctx",
    "context_length",
    "max_context_length",
    "model_max_length",
    "max_target_positions",
)
"""What configurations call them, the usual name first."""
_TAKEN_BY_PADDING = (
    "roberta",
    "camembert",
    "xlm-roberta",
    "xlm-roberta-xl",
    "data2vec-text",
    "esm",
)
"""Kinds whose positions begin behind the padding token's number."""


def positions(config: Any) -> int | None:
    """How many tokens a row may have by the model's ``config``; None if it sets no limit."""
    text = config.get_text_config(decoder=True)
    found = (getattr(text, name, None) for name in NAMES)
    limit = next((value for value in found if isinstance(value, int) and value > 0), None)
    if limit is not None and text.model_type in _TAKEN_BY_PADDING:
        return limit - (text.pad_token_id or 0) - 1
    return limit
