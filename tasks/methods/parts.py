"""Parts of a training that are loaded: model, tokenizer, reference model and rewards."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.arguments.build import Arguments
from tasks.errors import ModelError
from tasks.methods.registry import Parts, needs_reference_model
from tasks.methods.rewards import BUILT_IN, load_reward_model
from tasks.models.load import check_vocabulary, load_model, locate_model
from tasks.models.packing import check_rows_are_apart
from trainyard.contract.config import JobConfig
from trainyard.contract.events import TrainingSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folders:
    """Where the model and the tokenizer lie, and whether code beside them may run."""

    model: Path
    tokenizer: Path
    remote_code: bool


def locate(spec: TrainingSpec, config: JobConfig) -> Folders:
    """Find the folders of the model and its tokenizer. Raises ModelError."""
    asked = config.model.trust_remote_code or config.tokenizer.trust_remote_code
    remote_code = asked and spec.allow_remote_code
    if asked and not remote_code:
        logger.warning(
            "Adjusted: trust_remote_code: this worker runs no code that comes with a model"
        )

    def folder(name: str, revision: str | None) -> Path:
        return locate_model(
            name, spec.model_roots, revision=revision, allow_remote_code=remote_code
        )

    model = folder(config.model.name, config.model.revision)
    name = config.tokenizer.name
    tokenizer = model if name in (None, config.model.name) else folder(str(name), None)
    return Folders(model, tokenizer, remote_code)


def load(folders: Folders, config: JobConfig, arguments: Arguments) -> Any:
    """The base model. Raises ModelError.

    An attention that nobody asked for is left out again if the model does not have it.
    """

    def with_attention(attention: str | None) -> Any:
        return load_model(
            folders.model,
            config,
            dtype=arguments.model_dtype,
            quantization=arguments.quantization,
            attention=attention,
            trust_remote_code=folders.remote_code,
        )

    try:
        return with_attention(arguments.attention)
    except ModelError as error:
        if arguments.attention == config.model.attn_implementation:
            raise
        logger.warning("Not with the attention %s: %s", arguments.attention, error.sentence)
        return with_attention(None)


def load_parts(
    spec: TrainingSpec, folders: Folders, tokenizer: Any, config: JobConfig, arguments: Arguments
) -> Parts:
    """The models of a training. Raises ModelError."""
    model = load(folders, config, arguments)
    check_vocabulary(model, tokenizer, config.model.name)
    values = arguments.values
    packed = values.get("packing") and not config.training.how.whole_documents
    if packed or values.get("padding_free"):
        check_rows_are_apart(model)
    reference = load(folders, config, arguments) if needs_reference_model(config.training) else None
    return Parts(model, reference, *load_rewards(spec, config, arguments))


def load_rewards(
    spec: TrainingSpec, config: JobConfig, arguments: Arguments
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What rewards sampled answers, and their tokenizers. Raises ModelError."""
    rlhf = config.training.rlhf
    if not config.training.how.samples_answers or rlhf is None:
        return (), ()
    functions = tuple(BUILT_IN[name] for name in rlhf.reward_functions)
    if rlhf.reward_model is None:
        return functions, (None,) * len(functions)
    folder = locate_model(
        rlhf.reward_model, spec.model_roots, revision=None, allow_remote_code=False
    )
    model, tokenizer = load_reward_model(folder, rlhf.reward_model, arguments.model_dtype)
    return (*functions, model), (*(None,) * len(functions), tokenizer)
