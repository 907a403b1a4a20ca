"""Trial of a reward model: a text's score is the same by itself and beside longer ones.

Where a text ends is told from its padding; a model that looks at another place in a batch than for
a single text would learn of one and be used on the other.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from tasks.errors import ModelError
from tasks.trial.sample import sample_of
from tasks.trial.untouched import untouched

_DIFFERENCE_MAX = {False: 1e-3, True: 5e-2}
"""Of scores, relative to the largest one, at least 1; by whether it is of half precision."""

logger = logging.getLogger(__name__)


def hold_scores(trainer: Any, name: str) -> dict[str, Any]:
    """Try the training of the reward model ``name``; returns the record. Raises ModelError."""
    half = bool(trainer.args.bf16 or trainer.args.fp16) or trainer.model.dtype != torch.float32
    with untouched(trainer.model), trainer.accelerator.autocast():
        batch = sample_of(trainer).batch
        together = trainer.scores(trainer.model, batch)
        alone = torch.cat(
            [
                trainer.scores(
                    trainer.model,
                    {key: value[row : row + 1, :length] for key, value in batch.items()},
                )
                for row, length in enumerate(batch["attention_mask"].sum(1).tolist())
            ]
        )
        apart = float((together - alone).abs().max() / alone.abs().max().clamp(min=1.0))
    if not apart <= _DIFFERENCE_MAX[half]:
        raise ModelError(
            f"The model {name!r} scores a text otherwise beside longer ones than by itself (by "
            f"{apart:.3g}): its padding is not told from its text.",
            "Check pad_token in its tokenizer_config.json, or choose another model.",
        )
    logger.info(
        "Trial on two rows: a text has the same score by itself and in a batch (%.1e)", apart
    )
    return {"apart": float(f"{apart:.4g}")}
