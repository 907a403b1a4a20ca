"""Language part of a model that has others too (vision, say): it is what text can train."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


def other_parts(model: Any) -> list[str]:
    """Names of the largest modules of ``model`` that hold weights, none of the language part.

    Empty for a model of language only.
    """
    if model.config.get_text_config(decoder=True) is model.config:
        return []
    head = model.get_output_embeddings()
    language = {id(weight) for weight in model.get_decoder().parameters()}
    language |= {id(weight) for weight in (head.parameters() if head is not None else ())}
    found: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{part}.") for part in found)
        weights = {id(weight) for weight in module.parameters()}
        if name and weights and not inside and not weights & language:
            found.append(name)
    return found


def freeze_other_parts(model: Any, name: str) -> None:
    """Leave the rest of the model ``name`` as it is, and say so: rows of text do not reach it."""
    frozen = other_parts(model)
    for part in frozen:
        model.get_submodule(part).requires_grad_(False)
    if frozen:
        logger.info(
            "The model %s is kept whole, as %s; its language part is trained, and these stay as "
            "they are: %s",
            name,
            type(model).__name__,
            ", ".join(frozen),
        )
