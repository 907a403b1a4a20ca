"""Packing of several rows into one sequence: proof that they do not see one another."""

from __future__ import annotations

from typing import Any

import torch

from tasks.errors import ConfigurationError

_ROW_TOKENS = 8
_LARGEST_DIFFERENCE = 1e-3
"""Of logits, relative to their size: below what a row that is seen makes, above rounding."""


def leak(model: Any) -> float:
    """How much a packed row's logits change with the row before it, relative to their size.

    Two rows of tokens are packed as TRL packs them (positions that begin again, no mask), then
    the first of them is changed. 0 but for rounding if rows are apart. Draws no random number.
    """
    vocabulary = model.get_input_embeddings().num_embeddings
    tokens = torch.arange(2 * _ROW_TOKENS, device=model.device) % vocabulary
    positions = torch.arange(_ROW_TOKENS, device=model.device).repeat(2)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            one, other = (
                model(input_ids=rows[None], position_ids=positions[None], use_cache=False).logits[
                    0, _ROW_TOKENS:
                ]
                for rows in (
                    tokens,
                    torch.cat([tokens[:_ROW_TOKENS].flip(0), tokens[_ROW_TOKENS:]]),
                )
            )
    finally:
        model.train(training)
    return float(((one - other).abs().max() / one.abs().max().clamp(min=1e-9)).item())


def check_rows_are_apart(model: Any) -> None:
    """Raise ConfigurationError if packed rows of ``model`` see one another."""
    if leak(model) > _LARGEST_DIFFERENCE:
        raise ConfigurationError(
            "config.training.packing: with this model's attention "
            f"({model.config._attn_implementation}) packed rows would see one another.",
            "Leave packing out, or set config.model.attn_implementation to sdpa or, on a GPU, "
            "flash_attention_2.",
        )
