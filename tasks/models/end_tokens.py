"""Tokens at which a model stops generating."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GENERATION_NAME = "generation_config.json"


def end_tokens(folder: Path, config: Any) -> frozenset[int]:
    """What the model in ``folder`` stops at, by its ``config`` and its generation_config.json."""
    path = folder / GENERATION_NAME
    generation = json.loads(path.read_bytes()) if path.is_file() else {}
    said = getattr(config, "eos_token_id", None), generation.get("eos_token_id")
    return frozenset(token for value in said for token in _as_list(value))


def add_end_token(model: Any, token: int) -> None:
    """Let ``model`` stop at ``token`` too: its result's generation_config.json says so."""
    known = _as_list(model.generation_config.eos_token_id)
    if token not in known:
        model.generation_config.eos_token_id = [*known, token]


def _as_list(value: Any) -> list[int]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]
