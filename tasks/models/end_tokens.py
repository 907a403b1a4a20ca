"""Tokens at which a model stops generating."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

GENERATION_NAME = "generation_config.json"


def end_tokens(folder: Path, config: Any) -> frozenset[int]:
    """What the model in ``folder`` stops at, by its ``config`` and its generation_config.json."""
    path = folder / GENERATION_NAME
    generation = json.loads(path.read_bytes()) if path.is_file() else {}
    said = getattr(config, "eos_token_id", None), generation.get("eos_token_id")
    return frozenset(token for value in said for token in as_list(value))


def with_end_tokens(known: Any, ends: Iterable[int]) -> Any:
    """``eos_token_id`` of a generation_config.json, with the tokens ``ends`` added to it."""
    new = [token for token in dict.fromkeys(ends) if token not in as_list(known)]
    if not new:
        return known
    tokens = [*as_list(known), *new]
    return tokens if len(tokens) > 1 else tokens[0]


def accept_faults(model: Any) -> None:
    """Let the generation configuration of ``model`` be saved, also if transformers finds fault.

    It refuses one that was changed since it was loaded, as by the Trainer, which gives it the
    tokenizer's special tokens; base models come with faults (a temperature without sampling), and a
    training is not to fail because of them at its first checkpoint.
    """
    configuration = getattr(model, "generation_config", None)
    if configuration is None:  # it generates nothing
        return
    configuration._original_object_hash = hash(configuration)


def as_list(value: Any) -> list[int]:
    """The token ids of a configuration, which says none, one or several."""
    return list(value) if isinstance(value, list) else [] if value is None else [value]
