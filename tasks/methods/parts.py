"""Parts of a training that are loaded: model, tokenizer, reference model and rewards."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.arguments.build import Arguments
from tasks.errors import ConfigurationError, ModelError
from tasks.methods.registry import Parts, needs_reference_model
from tasks.methods.rewards import BUILT_IN, load_reward_model
from tasks.models.adapter import WEIGHTS_NAME, continued, joinable, merged
from tasks.models.embeddings import add_to_model, check_vocabulary
from tasks.models.frozen import freeze
from tasks.models.load import load_model, locate_model
from tasks.models.origin import Places, find_origin
from tasks.models.packing import check_rows_are_apart
from trainyard.contract.config import JobConfig, LoraConfig, ModelConfig
from trainyard.contract.events import TrainingSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folders:
    """Where the model and the tokenizer lie, and whether code beside them may run.

    ``base``: what names the ``model``. ``adapter``: the one on it that is gone on from.
    """

    model: Path
    tokenizer: Path
    remote_code: bool
    base: ModelConfig
    adapter: Path | None = None

    @property
    def adapter_weights(self) -> Path | None:
        """The file that holds that adapter's weights."""
        return self.adapter / WEIGHTS_NAME if self.adapter else None


def locate(spec: TrainingSpec, config: JobConfig) -> Folders:
    """Find the folders of the model and its tokenizer. Raises ModelError."""
    asked = config.model.trust_remote_code or config.tokenizer.trust_remote_code
    remote_code = asked and spec.allow_remote_code
    if asked and not remote_code:
        logger.warning(
            "Adjusted: trust_remote_code: this worker runs no code that comes with a model"
        )

    places = Places(spec.model_roots, Path(spec.job_dir).parent, remote_code)
    origin = find_origin(config.model, places)
    tokenizer, name = origin.tokenizer, config.tokenizer.name
    if name not in (None, config.model.name):
        tokenizer = find_origin(ModelConfig(name=str(name)), places).tokenizer
    return Folders(origin.model, tokenizer, remote_code, origin.base, origin.adapter)


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
    spec: TrainingSpec,
    folders: Folders,
    tokenizer: Any,
    new_tokens: Sequence[int],
    config: JobConfig,
    arguments: Arguments,
) -> Parts:
    """The models of a training. Raises ModelError, ConfigurationError."""
    _check_adapter(folders, config, new_tokens)
    model = load(folders, config, arguments)
    add_to_model(model, new_tokens, config)
    freeze(model, config.training.freeze)
    check_vocabulary(model, tokenizer, config.model.name)
    values = arguments.values
    packed = values.get("packing") and not config.training.how.whole_documents
    if packed or values.get("padding_free"):
        check_rows_are_apart(model)
    model, reference = take_up(model, folders, config), None
    if needs_reference_model(config.training):
        reference = load(folders, config, arguments)
        add_to_model(reference, new_tokens, config)
        reference = take_up(reference, folders, config)
    return Parts(model, reference, *load_rewards(spec, config, arguments), new_tokens)


def _check_adapter(folders: Folders, config: JobConfig, new_tokens: Sequence[int]) -> None:
    """Before anything is loaded: what becomes of the adapter that is gone on from is said, and can
    be done. Raises ConfigurationError and ModelError."""
    training, name = config.training, config.model.name
    asked = (config.lora or LoraConfig()).adapter
    if folders.adapter is None:
        if asked == "continue":
            raise ConfigurationError(
                f"config.lora.adapter is 'continue', and {name!r} is a whole model, no adapter.",
                "Leave it out: a new adapter is put on the model.",
            )
        return
    if training.how.scores_texts or training.sharded:
        what = "fsdp goes" if training.sharded else "a reward model goes"
        raise ConfigurationError(
            f"{name!r} is an adapter, and {what} on from whole models only.",
            "Merge it first (`trainyard merge`), and name the whole model.",
        )
    if new_tokens:
        raise ConfigurationError(
            f"{name!r} is an adapter, and new tokens (config.tokenizer) are given to whole models.",
            "Merge it first (`trainyard merge`), and name the whole model.",
        )
    if training.use_lora and asked is None:
        raise ConfigurationError(
            f"{name!r} is an adapter, and it is not said what becomes of it.",
            "Send config.lora.adapter: 'continue' trains it on, 'new' merges it with its base "
            "model and puts a new one on top.",
        )
    if training.use_lora and asked == "new":
        joinable(folders.adapter, name)


def take_up(model: Any, folders: Folders, config: JobConfig) -> Any:
    """``model`` with the adapter that is gone on from, to be trained on or merged; as it is without
    one. Raises ModelError."""
    if folders.adapter is None:
        return model
    asked, name = (config.lora or LoraConfig()).adapter, config.model.name
    if config.training.use_lora and asked == "continue":
        logger.info(
            "The adapter of %s is trained on; its base model is %s", name, folders.base.name
        )
        return continued(model, folders.adapter, name)
    logger.info("The adapter of %s is merged with its base model %s", name, folders.base.name)
    return merged(model, folders.adapter, name)


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
