"""Loading of models and tokenizers that a request names: found and checked before.

A name is looked up beneath each model root, then at the Hugging Face hub. Everything is then
loaded from a folder, so that no library guesses a second time what the name means. Weights are
only safetensors; code that comes with a model runs only if the worker allows it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import AddedToken
from transformers import AutoConfig, AutoTokenizer, BitsAndBytesConfig

from tasks.errors import ModelError, ModelNotFound
from tasks.models.chat_template import simple_chat_template
from tasks.models.download import fetch
from tasks.models.kind import check_kind, class_of
from tasks.models.language_part import freeze_other_parts
from tasks.models.safety import (
    check_model_files,
    check_tokenizer_files,
    names_a_repository,
    runs_code,
)
from tasks.models.whole import broken_file, check_whole
from trainyard.contract.config import JobConfig, TokenizerConfig

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
"""What a folder with a tokenizer has one of."""
_LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError)

logger = logging.getLogger(__name__)


def locate_model(
    name: str, roots: Sequence[str], *, revision: str | None, allow_remote_code: bool
) -> Path:
    """Return the folder that holds the model ``name``: beneath a root, or of the hub's cache.

    Raises ModelError; a path that leaves the roots, by ``..`` or a symbolic link, is refused.
    """
    try:
        local = _below(name, roots)
    except (ValueError, RuntimeError, OSError) as error:  # odd characters, a circle, length
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(
            f"The path of the model, {name[:200]!r}, cannot be looked at: {reason}.",
            "Check model.name.",
        ) from error
    return local or fetch(name, _listed(roots), revision, allow_remote_code)


def _listed(roots: Sequence[str]) -> str:
    return ", ".join(str(Path(root).resolve()) for root in roots) or "none"


def _below(name: str, roots: Sequence[str]) -> Path | None:
    """The folder beneath a root, or None: ``name`` is one of the hub's."""
    resolved_roots = [Path(root).resolve() for root in roots]
    listed = _listed(roots)
    looks_local = name.startswith(("/", ".", "~")) or ".." in Path(name).parts
    for root in resolved_roots:
        folder = (root / name).resolve()
        if not any(folder.is_relative_to(allowed) for allowed in resolved_roots):
            if looks_local or (root / name).exists():
                raise ModelError(
                    f"The model {name!r} lies outside of the folders that jobs may read: {listed}.",
                    "Move it there, or start the worker with its folder in MODEL_ROOTS.",
                )
        elif folder.is_dir():
            refuse_links_out(folder, resolved_roots, name)
            return folder
    if looks_local or not _HUB_NAME.fullmatch(name):
        raise ModelNotFound(f"No such model: {name!r} (looked in {listed})")
    return None


def refuse_links_out(folder: Path, roots: Sequence[Path], name: str) -> None:
    """Raise ModelError if a link below ``folder`` leads out of the resolved ``roots``."""
    for path in folder.rglob("*"):
        if path.is_symlink() and not any(path.resolve().is_relative_to(root) for root in roots):
            raise ModelError(
                f"The model {name!r} has a link to outside of the model folders: {path.name}"
            )


def load_config(folder: Path, name: str, trust_remote_code: bool, *, scores: bool = False) -> Any:
    """The configuration of a causal language model. Raises ModelError, also for another kind.

    ``scores``: it is to give a text one number.
    """
    check_model_files(folder, name, trust_remote_code=trust_remote_code)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except _LOADING_ERRORS as error:
        raise _cannot_load(f"The configuration of {name!r}", error) from error
    check_kind(config, name, trust_remote_code=trust_remote_code, scores=scores)
    return config


def load_tokenizer(folder: Path, config: JobConfig, trust_remote_code: bool) -> Any:
    """The tokenizer, with a pad token and a chat template. Raises ModelError."""
    name = config.tokenizer.name or config.model.name
    check_tokenizer_files(folder, name)
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(
            f"The model {name!r} has no tokenizer: its folder holds none of "
            f"{', '.join(TOKENIZER_FILES)}.",
            "Save one beside the model, or name another model's in config.tokenizer.name.",
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except _LOADING_ERRORS as error:
        raise _cannot_load(f"The tokenizer of {name!r}", error) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of {name!r} has no fast version, which training needs.",
            "Convert it to a tokenizer.json.",
        )
    if tokenizer.eos_token is None:
        raise ModelError(
            f"The tokenizer of {name!r} has no end-of-sequence token.",
            "Set eos_token in its tokenizer_config.json.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        logger.info("The tokenizer has no chat template: it gets a simple one (### Instruction:)")
        tokenizer.chat_template = simple_chat_template(tokenizer)
    if config.tokenizer.padding_side:
        tokenizer.padding_side = config.tokenizer.padding_side
    return tokenizer


def add_to_tokenizer(tokenizer: Any, config: TokenizerConfig) -> tuple[int, ...]:
    """Add the tokens that ``config`` asks for; returns the numbers of those that were not there.

    Each stands for its text exactly, wherever that occurs. Special ones are left out when a text
    is decoded without special tokens.
    """
    there = set(tokenizer.get_vocab())
    asked = [*(config.add_tokens or ()), *(config.add_special_tokens or ())]
    for texts, special in ((config.add_tokens, False), (config.add_special_tokens, True)):
        tokens = [AddedToken(text, normalized=False, special=special) for text in texts or ()]
        tokenizer.add_tokens(tokens, special_tokens=special)
    new = [text for text in dict.fromkeys(asked) if text not in there]
    if known := [text for text in dict.fromkeys(asked) if text in there]:
        logger.info("The tokenizer has these tokens already: %s", ", ".join(map(repr, known)))
    return tuple(tokenizer.convert_tokens_to_ids(new))


def load_model(
    folder: Path,
    config: JobConfig,
    *,
    dtype: str,
    quantization: dict[str, Any] | None,
    attention: str | None,
    trust_remote_code: bool,
) -> Any:
    """The causal language model, whole, from safetensors, in ``dtype`` (torch's name for it).

    What it has beside language is frozen. If the method's result scores texts, it has a head for
    that in the place of its own. Raises ModelError.
    """
    name, scores = config.model.name, config.training.how.scores_texts
    arguments: dict[str, Any] = {"num_labels": 1} if scores else {}
    if attention and names_a_repository(attention) and not trust_remote_code:
        raise runs_code(f"config.model.attn_implementation ({attention!r})")
    if attention:
        arguments["attn_implementation"] = attention
    if quantization:
        arguments["quantization_config"] = BitsAndBytesConfig(**quantization)
    found = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    try:
        chosen = class_of(found, trust_remote_code=trust_remote_code, scores=scores)
        model, info = chosen.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            # Else it raises without the names.
            ignore_mismatched_sizes=True,
            trust_remote_code=trust_remote_code,
            **arguments,
        )
    except (*_LOADING_ERRORS, SafetensorError) as error:
        raise _no_weights(folder, name, error) from error
    check_whole(info, name, new_head=scores and type(model).__name__ not in _named(found))
    freeze_other_parts(model, name)
    return model


def _named(config: Any) -> list[str]:
    return list(getattr(config, "architectures", None) or ())


def _no_weights(folder: Path, name: str, error: Exception) -> ModelError:
    """Why the weights do not load, by a look at their files."""
    if not list(folder.glob("*.safetensors")):
        return ModelError(
            f"The model {name!r} has no weights in safetensors format; pickled weights are "
            "refused, since loading them can run code.",
            "Convert it with save_pretrained and put the result under MODEL_ROOTS.",
        )
    broken = broken_file(folder)
    if broken is not None:
        return ModelError(
            f"The file {broken[0].name} of the model {name!r} cannot be read: {broken[1]}",
            "Copy or download that file again.",
        )
    return _cannot_load(f"The model {name!r}", error)


def _cannot_load(what: str, error: BaseException) -> ModelError:
    text = str(error)
    if "trust_remote_code" in text:
        return ModelError(
            f"{what} comes with code of its own, which this worker does not run.",
            "Use a model of an architecture that transformers knows, or start the worker with "
            "ALLOW_REMOTE_CODE=1 and set config.model.trust_remote_code, if you trust its author.",
        )
    first_line = (text.strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, ImportError):
        return ModelError(
            f"{what} cannot be loaded: {first_line}",
            "Install the package in the worker's environment, or name a model that does without "
            "it (one that is not quantised).",
        )
    return ModelError(
        f"{what} cannot be loaded: {first_line}",
        "Check that the folder holds config.json, tokenizer.json and *.safetensors.",
    )
