"""Tokenizer of a check: the one that a job of this model would have, and how it would be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from tasks.arguments.build import choose_max_length
from tasks.models.embeddings import positions
from tasks.models.end_tokens import end_tokens
from tasks.models.load import add_to_tokenizer, load_config, load_tokenizer
from tasks.models.origin import Places, find_origin
from trainyard.contract.config import JobConfig


def tokenizer_of(
    config: JobConfig, model_roots: Sequence[str], jobs_dir: Path
) -> tuple[dict[str, Any], str]:
    """Arguments of ``tokenise_data``, and a note on the length that was chosen, or "".

    Raises ModelError, ConfigurationError.
    """
    transformers_logging.disable_progress_bar()
    here = Path(config.model.name).expanduser()
    named = config.model.model_copy(update={"name": str(here.absolute())} if here.is_dir() else {})
    roots = ["/", *model_roots] if here.is_dir() else list(model_roots)
    origin = find_origin(named, Places(roots, jobs_dir))
    folder = origin.model
    scores = config.training.how.scores_texts
    model = load_config(folder, config.model.name, False, scores=scores)
    max_length, note = choose_max_length(config, positions(model))
    tokenizer = load_tokenizer(origin.tokenizer, config, False)
    add_to_tokenizer(tokenizer, config.tokenizer)
    how = {
        "tokenizer": tokenizer,
        "max_length": max_length,
        "add_eos": config.tokenizer.add_eos_token is not False,
        "end_tokens": end_tokens(folder, model),
    }
    return how, "" if note is None else str(note)
