"""Kind of a model: its class as its configuration names it, if that is one that is trained."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

from tasks.errors import ModelError

_OTHER_KINDS = {
    "SequenceClassification": "classifies whole texts",
    "TokenClassification": "classifies single tokens",
    "QuestionAnswering": "marks an answer in a text",
    "MultipleChoice": "chooses between texts",
    "MaskedLM": "fills gaps, and sees the tokens after them",
    "PreTraining": "fills gaps, and sees the tokens after them",
    "RewardModel": "scores texts",
}
"""By the end of a class's name, behind its ``For``."""
_SCORES = "ForSequenceClassification"
_MEND = (
    "Name a causal language model, one that continues a text (config.json names a class such as "
    "LlamaForCausalLM)."
)


def check_kind(config: Any, name: str, *, trust_remote_code: bool, scores: bool = False) -> None:
    """Raise ModelError if the model ``name`` of that ``config`` is no causal one.

    ``scores``: it is to give a text one number; one that does already will do too.
    """
    named = _named(config)
    known_as = f"{name!r} ({named or config.model_type})"
    if config.is_encoder_decoder or config.get_text_config(decoder=True).is_encoder_decoder:
        raise ModelError(f"The model {known_as} is an encoder-decoder, not a causal model.", _MEND)
    if scores and named.endswith(_SCORES) and config.num_labels != 1:
        raise ModelError(
            f"The model {known_as} gives {config.num_labels} numbers for a text, not one.", _MEND
        )
    for end, does in _OTHER_KINDS.items():
        if scores and end in _SCORES:
            continue
        if named.endswith(f"For{end}"):
            raise ModelError(f"The model {known_as} {does}: it is no causal model.", _MEND)
    loaded = class_of(config, trust_remote_code=trust_remote_code, scores=scores)
    if loaded is None:
        lacks = "class that scores texts" if scores else "causal language model"
        raise ModelError(
            f"The model {known_as} is of the kind {config.model_type!r}, of which transformers has "
            f"no {lacks}.",
            _MEND,
        )
    if scores:
        return
    if loaded is not AutoModelForCausalLM and _is_another(named, loaded):
        raise ModelError(
            f"The model {known_as} would be loaded, and saved, as {loaded.__name__}, which is "
            "another class than its config.json names.",
            f"Correct 'architectures' or 'model_type' there, if it is a {loaded.__name__}.",
        )


def class_of(config: Any, *, trust_remote_code: bool, scores: bool = False) -> Any:
    """The class that the model is loaded as, and saved as; None if there is none.

    transformers finds the one that lies beside the model, if code of it may run. A model that has
    more than language (vision, say) is kept whole, unless its configuration names the class of its
    language part only. ``scores``: the class that gives a text numbers.
    """
    if scores:
        return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if trust_remote_code and _brings_code(config):
        return AutoModelForCausalLM
    causal = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    whole = MODEL_FOR_MULTIMODAL_LM_MAPPING.get(type(config), None)
    if whole is None or (causal is not None and _named(config) == causal.__name__):
        return causal
    return whole


def _named(config: Any) -> str:
    """The class that the configuration names, or an empty text."""
    return str((getattr(config, "architectures", None) or [""])[0])


def _brings_code(config: Any) -> bool:
    """Whether the class lies beside the model."""
    return "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})


def _is_another(named: str, loaded: Any) -> bool:
    """Whether ``named`` is a class of transformers, with a head of its own, that is not loaded."""
    return "For" in named and named != loaded.__name__ and hasattr(transformers, named)
