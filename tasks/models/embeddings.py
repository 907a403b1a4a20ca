"""Embeddings of a model: how many positions it has, and a row for each token, new ones too.

A new token's row is the mean of the rows of all tokens that were there (Hewitt, "Initializing New
Word Embeddings for Pretrained Language Models", 2021), in the embeddings and in the head. So it is
the same whenever the model is loaded again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from tasks.errors import ConfigurationError, ModelError
from trainyard.contract.config import JobConfig

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

logger = logging.getLogger(__name__)


def positions(config: Any) -> int | None:
    """How many tokens a row may have by the model's ``config``; None if it sets no limit."""
    text = config.get_text_config(decoder=True)
    found = (getattr(text, name, None) for name in NAMES)
    limit = next((value for value in found if isinstance(value, int) and value > 0), None)
    if limit is not None and text.model_type in _TAKEN_BY_PADDING:
        return limit - (text.pad_token_id or 0) - 1
    return limit


def check_vocabulary(model: Any, tokenizer: Any, name: str) -> None:
    """Raise ModelError if the tokenizer may give a token that the model has no embedding of.

    The largest token's number decides, not their count: a vocabulary may have holes.
    """
    rows = model.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise ModelError(
            f"The tokenizer has tokens up to number {largest} ({len(tokenizer)} in all), but the "
            f"model {name!r} has embeddings for {rows}, from 0 to {rows - 1}.",
            "Use the model's own tokenizer (leave config.tokenizer.name out).",
        )


def add_to_model(model: Any, new: Sequence[int], config: JobConfig) -> None:
    """Make the rows of the ``new`` tokens in ``model``. Raises ConfigurationError if an adapter is
    trained and the model has too few rows: the base model would lack them wherever it is loaded.
    """
    if not new:
        return
    rows = model.get_input_embeddings().num_embeddings
    needed = max(new) + 1
    if needed > rows:
        if config.training.use_lora:
            raise ConfigurationError(
                f"config.tokenizer: the new tokens need {needed - rows} more rows of embeddings "
                f"than the model {config.model.name!r} has ({rows}), and an adapter cannot give "
                "them to its base model.",
                "Train the whole model (use_lora false), or name a base model that has these "
                "tokens or room for them.",
            )
        model.resize_token_embeddings(needed, mean_resizing=False)
    old = min(*new, rows)
    with torch.no_grad():
        bias = getattr(model.get_output_embeddings(), "bias", None)
        whole = [] if bias is None or config.training.use_lora else [bias]
        for weight in (*_weights(model), *whole):  # no adapter holds a head's bias
            # Without a copy: rows of many tokens are gigabytes.
            mean = weight[:old].mean(dim=0, dtype=torch.float32)
            weight[list(new)] = mean.to(weight.dtype)
    logger.info("%d new tokens: their embeddings begin as the mean of all others", len(new))


def _weights(model: Any) -> list[torch.Tensor]:
    """The embeddings, and the head if it is not the same weight."""
    head = model.get_output_embeddings()
    embeddings = model.get_input_embeddings().weight
    tied = head is None or head.weight is embeddings
    return [embeddings] if tied else [embeddings, head.weight]


def trained_rows(
    model: Any, new: Sequence[int], whole: Sequence[str]
) -> dict[str, list[int]] | None:
    """PEFT's ``trainable_token_indices``: the rows that an adapter trains beside its layers.

    A tied head comes by its embeddings, unless these are trained whole: a copy is then, and the
    head is none any more. ``whole``: modules that are trained whole.
    """
    if not new:
        return None
    weights = {id(weight) for weight in _weights(model)}
    names = [
        name
        for name, module in model.named_modules()
        if id(getattr(module, "weight", None)) in weights
    ]
    if len(weights) == 1 and not set(names) & set(whole):
        names = names[:1]
    return {name: list(new) for name in names if name not in whole} or None
