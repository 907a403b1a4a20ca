"""LoRA adapter of a model: what it adapts, and what it leaves out, which is said.

PEFT knows the usual targets of known architectures only; all linear layers always work, but for
those named here.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from transformers.conversion_mapping import get_checkpoint_conversion_mapping
from transformers.pytorch_utils import Conv1D

from tasks.errors import ConfigurationError
from tasks.models.embeddings import trained_rows
from tasks.models.language_part import other_parts
from tasks.models.whole import NEW_HEAD
from trainyard.contract.config import LoraConfig

ALL_LINEAR = "all-linear"
_FUSED_DIMENSIONS = 3
"""Of a weight that holds one matrix for each expert."""
_EXPERTS_OF_OLD = ("gate", "w1", "w2", "w3", "gate_proj", "up_proj", "down_proj")

logger = logging.getLogger(__name__)


def lora_settings(
    lora: LoraConfig, model: Any, *, new_head: bool = False, new_tokens: Sequence[int] = ()
) -> Any:
    """PEFT's LoRA configuration of ``config.lora`` for ``model``. Raises ConfigurationError.

    A ``new_head``, of scores, is trained whole; so are the rows of ``new_tokens``.
    """
    if lora.task_type != "CAUSAL_LM":
        raise ConfigurationError(
            f"config.lora.task_type is {lora.task_type!r}; CAUSAL_LM is trained."
        )
    targets = lora.target_modules or ALL_LINEAR
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:  # as PEFT reads it
        targets = ALL_LINEAR
    parts, whole = other_parts(model), _trained_whole(model, lora)
    left_out = [] if _asks_for(targets, parts) else parts
    if targets == ALL_LINEAR:
        left_out = [*left_out, *not_adaptable(model), *whole]
        targets = linear_layers(model, left_out)
    else:
        _refuse_unknown(targets, model, others=bool(lora.target_parameters))
    if left_out:
        logger.info("LoRA leaves out: %s", ", ".join(_summed_up(left_out)))
    return PeftLoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        exclude_modules=_pattern(left_out) if left_out else None,
        target_parameters=lora.target_parameters,
        modules_to_save=whole or None,
        trainable_token_indices=trained_rows(model, new_tokens, whole),
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=True if lora.init == "default" else lora.init,
        bias=lora.bias,
        task_type="SEQ_CLS" if new_head else "CAUSAL_LM",
    )


def _refuse_unknown(targets: Sequence[str] | str, model: Any, *, others: bool) -> None:
    """Raise ConfigurationError if PEFT would find none of ``targets``; warn of a single one, or of
    all if there are ``others`` to adapt.
    """
    unknown = _unknown(targets, model)
    if not unknown:
        return
    last = dict.fromkeys(name.rpartition(".")[2] for name in linear_layers(model, ()))
    asked = re.split(r"[\s,]+", targets) if isinstance(targets, str) else unknown
    near = (get_close_matches(name, last, n=1) for name in asked)
    meant = list(dict.fromkeys(name for found in near for name in found))
    if isinstance(targets, str):
        what, guess = f"no module's whole name matches {targets!r}", json.dumps(meant)
    else:
        what, guess = f"the model has no module {', '.join(map(repr, unknown))}", ", ".join(meant)
    said = f"config.lora.target_modules: {what}{f' (did you mean {guess}?)' if meant else ''}."
    has = f"Its linear layers are {', '.join(last)}."
    if not others and (isinstance(targets, str) or len(unknown) == len(targets)):
        raise ConfigurationError(said, has)
    logger.warning("%s %s", said, has)


def _unknown(targets: Sequence[str] | str, model: Any) -> list[str]:
    """Those that PEFT would not find. One text is a regular expression of a whole name; of a list
    each is the end of one. Raises ConfigurationError if a text is none.
    """
    names = [name for name, _ in model.named_modules()]
    of_old = _EXPERTS_OF_OLD if _has_converted_experts(model) else ()
    if isinstance(targets, str):
        names += [f"{name}.{old}" for name in names for old in of_old]
        try:
            return [] if any(re.fullmatch(targets, name) for name in names) else [targets]
        except re.error as error:
            raise ConfigurationError(
                f"config.lora.target_modules: {targets!r} is no regular expression: {error}.",
                'Names are a list, as ["q_proj", "v_proj"].',
            ) from error
    ends = {name[at:] for name in names for at in _starts(name)}
    return [name for name in targets if name not in ends and not name.endswith(of_old)]


def _starts(name: str) -> list[int]:
    return [0, *(at + 1 for at, sign in enumerate(name) if sign == ".")]


def _trained_whole(model: Any, lora: LoraConfig) -> list[str]:
    """Modules that are trained whole, by their whole names: PEFT goes by how a name ends, so that
    ``norm`` would be every ``layernorm`` too. Raises ConfigurationError for one that is not there.
    """
    found = []
    for named in lora.modules_to_save or ():
        those = [name for name, _ in model.named_modules() if f".{name}".endswith(f".{named}")]
        if not those:
            raise ConfigurationError(
                f"config.lora.modules_to_save: the model has no module {named!r}.",
                f"It has, at its top: {', '.join(name for name, _ in model.named_children())}.",
            )
        found += those
    return found


def linear_layers(model: Any, left_out: Sequence[str]) -> list[str]:
    """Names of the linear layers, but for the head and what is ``left_out``.

    PEFT's own ``all-linear`` takes fused experts too in some architectures, and then refuses
    dropout.
    """
    none_of = re.compile(_pattern(left_out)) if left_out else None
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not model.get_output_embeddings()
        and f"{name}.weight" != NEW_HEAD
        and not (none_of and none_of.fullmatch(name))
    ]


def _asks_for(targets: Sequence[str] | str, parts: Sequence[str]) -> bool:
    """Whether a target names one of the parts that have no text, such as ``vision_tower``."""
    named = [targets] if isinstance(targets, str) else targets
    return any(part.rpartition(".")[2] in target for part in parts for target in named)


def not_adaptable(model: Any) -> list[str]:
    """Linear layers that an adapter does not serve, or that PEFT takes for something else."""
    renamed = _EXPERTS_OF_OLD if _has_converted_experts(model) else ()
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        *path, last = name.split(".")
        parent = model.get_submodule(".".join(path))
        # A Mamba block's kernels read this weight, and pass an adapter by.
        by_kernel = last == "out_proj" and hasattr(parent, "A_log") and hasattr(parent, "D")
        # Routers that are linear layers and more, with several outputs (Llama4Router).
        is_router = type(module).__name__.endswith("Router")
        if by_kernel or is_router or last in renamed:
            found.append(name)
    return found


def _has_converted_experts(model: Any) -> bool:
    """Whether PEFT reads names of linear layers in ``model`` as those of experts, which older
    versions of transformers had as linear layers."""
    converted = get_checkpoint_conversion_mapping(model.config.model_type) is not None
    return converted and bool(_fused_experts(model))


def _pattern(modules: Sequence[str]) -> str:
    """What matches those modules and all below them, and no other."""
    return f"({'|'.join(re.escape(name) for name in modules)})(\\..*)?"


def _summed_up(names: Sequence[str]) -> list[str]:
    """``layers.0.x`` and ``layers.1.x`` as ``layers.*.x``."""
    return list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in names))


def say_experts(model: Any) -> None:
    """Warn of experts that the adapter in ``model`` does not adapt: all of a layer's are one
    weight with three dimensions, and PEFT takes linear layers."""
    left = _fused_experts(model)
    if left:
        logger.warning(
            "LoRA does not adapt the experts, %s parameters in fused weights; "
            "config.lora.target_parameters %s with config.lora.dropout 0 would",
            f"{sum(left.values()):,}",
            list(left),
        )


def _fused_experts(model: Any) -> dict[str, int]:
    """Weights that hold all experts of a layer and have no adapter: how many numbers, by the name
    that ``config.lora.target_parameters`` takes."""
    found: dict[str, int] = {}
    for name, weight in model.named_parameters():
        path = name.split(".")
        if weight.dim() == _FUSED_DIMENSIONS and "expert" in path[-2]:
            key = ".".join(path[-3:])
            found[key] = found.get(key, 0) + weight.numel()
    return found
