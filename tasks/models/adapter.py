"""Adapter that a training goes on from: checked, loaded onto its base model, or merged with it.

Of PEFT's settings some import modules or change the base model; only those that are known here are
taken from a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open

from tasks.errors import ConfigurationError, ModelError
from tasks.models.origin import ADAPTER_NAME
from tasks.models.safety import read_json

WEIGHTS_NAME = "adapter_model.safetensors"
REFERENCE = "ref"
"""TRL's name for the copy of an adapter that stays as it was: what a loss compares with."""
_TAKEN = (
    *("r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "bias"),
    *("rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern"),
    *("target_parameters", "fan_in_fan_out", "use_rslora", "use_dora", "modules_to_save"),
)
"""Settings of a LoRA adapter that shape it."""
_OF_NO_CONSEQUENCE = (
    *("base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version"),
    *("peft_type", "task_type", "init_lora_weights", "runtime_config", "qalora_group_size"),
    *("megatron_core", "eva_config", "corda_config", "loftq_config"),
)
"""Settings that say where it came from, or how what is not used would be used."""


def adapter_settings(folder: Path, name: str) -> LoraConfig:
    """The settings of the adapter ``name`` in ``folder``. Raises ModelError for any but LoRA's."""
    said = read_json(folder / ADAPTER_NAME, name)
    kind, task = said.get("peft_type"), said.get("task_type")
    if kind != "LORA" or task not in ("CAUSAL_LM", None):
        raise ModelError(
            f"The adapter {name!r} is of the kind {kind} for {task}; LoRA adapters of models that "
            "continue a text are gone on from.",
            "Merge it with its base model, and name the whole model.",
        )
    others = {
        key: value
        for key, value in said.items()
        if key not in (*_TAKEN, *_OF_NO_CONSEQUENCE) and value
    }
    if others:
        raise ModelError(
            f"The adapter {name!r} has settings that are not known here: "
            f"{', '.join(f'{key} {value!r}' for key, value in others.items())}.",
            "Merge it with its base model, and name the whole model.",
        )
    try:
        taken = {key: said[key] for key in _TAKEN if said.get(key) is not None}
        return LoraConfig(task_type="CAUSAL_LM", **taken)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{ADAPTER_NAME} of the adapter {name!r} is wrong: {error}") from error


def continued(model: Any, folder: Path, name: str) -> Any:
    """``model`` with the adapter in ``folder``, to be trained on. Raises ModelError."""
    settings = adapter_settings(folder, name)
    if not (folder / WEIGHTS_NAME).is_file():  # PEFT would take a pickle in its place
        raise ModelError(
            f"The adapter {name!r} has no {WEIGHTS_NAME}; pickled weights are refused, since "
            "loading them can run code."
        )
    try:
        # PEFT looks there at each save, and else at the hub.
        settings.base_model_name_or_path = model.name_or_path
        adapted = PeftModel.from_pretrained(
            model, folder, config=settings, is_trainable=True, local_files_only=True
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"The adapter {name!r} cannot be loaded onto its base model: {first}",
            f"Check that {ADAPTER_NAME} names the model that it was trained on.",
        ) from error
    check_keys(adapted, folder, name)
    # Not the copy that a loss compares with.
    adapted.save_pretrained = partial(adapted.save_pretrained, selected_adapters=["default"])
    return adapted


def check_keys(adapted: Any, folder: Path, name: str) -> None:
    """Raise ModelError unless the file of the adapter ``name``, which ``adapted`` was made with,
    holds its weights, all and only those: PEFT makes up what is missing, and leaves out the rest.
    """
    with safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
        saved = set(file.keys())
    wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    left = {key for key in saved - wanted if ".base_layer." not in key}
    if wanted - saved or left:
        raise ModelError(
            f"The adapter {name!r} is not of this base model: it lacks {len(wanted - saved)} of "
            f"the weights that are meant, and has {len(left)} that have no place.",
            f"Check that {ADAPTER_NAME} names the model that it was trained on.",
        )


def merged(model: Any, folder: Path, name: str) -> Any:
    """``model`` with the adapter in ``folder`` added to its weights. Raises ModelError."""
    tied = model.config.get_text_config().tie_word_embeddings
    trained = {id(weight): weight.requires_grad for weight in model.parameters()}
    adapted = continued(model, folder, name)
    ends = (adapted.get_input_embeddings(), adapted.get_output_embeddings())
    if tied and any(isinstance(end, BaseTunerLayer) for end in ends):
        raise ConfigurationError(
            f"The adapter {name!r} adapts embeddings that are the model's head too: merged they "
            "would say something else.",
            "Send config.lora.adapter 'continue', which merges nothing.",
        )
    whole = adapted.merge_and_unload()
    for weight in whole.parameters():
        weight.requires_grad_(trained.get(id(weight), True))
    return whole


def joinable(folder: Path, name: str) -> None:
    """Raise ConfigurationError unless the adapter is a plain sum, which another can be added to."""
    settings = adapter_settings(folder, name)
    more = [
        key
        for key in ("use_dora", "modules_to_save", "target_parameters")
        if getattr(settings, key)
    ]
    if settings.bias != "none":
        more.append("bias")
    if more:
        raise ConfigurationError(
            f"The adapter {name!r} has {', '.join(more)}: it and a new one are not one adapter.",
            "Send config.lora.adapter 'continue', or merge it (`trainyard merge`) and name the "
            "whole model.",
        )


def own_weights(model: Any) -> Iterator[torch.Tensor]:
    """All weights of ``model`` but those of the copy that a loss compares with."""
    for name, weight in model.named_parameters():
        if f".{REFERENCE}." not in name:
            yield weight
