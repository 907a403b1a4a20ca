"""Rewards of the method rlhf: built-in functions, and the loading of a reward model.

A function takes the answers (``completions``: texts, or lists of one message) and the columns of
the data set, and returns one number for each answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tasks.errors import ModelError
from tasks.models.chat_template import simple_chat_template
from tasks.models.safety import check_model_files, check_tokenizer_files

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_MARKED = re.compile(r"####\s*(.+)")
_THINKING = re.compile(r"\s*<think>(?!.*<think>).*?</think>\s*\S.*", re.DOTALL)
BREVITY_CHARACTERS = 1000
"""An answer of so many characters or more gets no reward for being short."""

Answer = str | Sequence[dict[str, Any]]


def _text(answer: Answer) -> str:
    return answer if isinstance(answer, str) else "".join(str(m["content"]) for m in answer)


def final_answer(text: str) -> str:
    """What ``text`` comes down to: what follows ``####`` (as in GSM8K), else its last number, else
    all of it, without case and outer spaces."""
    marked = _MARKED.findall(text)
    found = _NUMBER.findall(marked[-1] if marked else text)
    if found:
        return str(found[-1]).replace(",", "").rstrip(".")
    return str(marked[-1] if marked else text).strip().lower()


def answer(completions: Sequence[Answer], answer: Sequence[str], **_: Any) -> list[float]:
    """1 if the answer comes down to the same as the data set's, else 0."""
    return [
        float(bool(right) and final_answer(_text(given)) == final_answer(right))
        for given, right in zip(completions, answer, strict=True)
    ]


def format(completions: Sequence[Answer], **_: Any) -> list[float]:
    """1 for one block ``<think>...</think>`` with an answer after it, else 0."""
    return [float(bool(_THINKING.fullmatch(_text(given)))) for given in completions]


def brevity(completions: Sequence[Answer], **_: Any) -> list[float]:
    """1 for an empty answer, falling evenly to 0 at 1,000 characters."""
    return [max(0.0, 1 - len(_text(given)) / BREVITY_CHARACTERS) for given in completions]


BUILT_IN: dict[str, Callable[..., list[float]]] = {
    "answer": answer,
    "format": format,
    "brevity": brevity,
}


def load_reward_model(folder: Path, name: str, dtype: str) -> tuple[Any, Any]:
    """The sequence classifier in ``folder`` that gives one number, and its tokenizer.

    Raises ModelError.
    """
    check_model_files(folder, name, trust_remote_code=False)
    check_tokenizer_files(folder, name)
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"The reward model {name!r} is an adapter.",
            "Name its merged copy (the folder merged in it), which config.training.merge_adapter "
            "makes.",
        )
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"The reward model {name!r} has no weights in safetensors format; pickled weights are "
            "refused, since loading them can run code.",
            "Convert it with save_pretrained.",
        )
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(
            f"The reward model {name!r} cannot be loaded: {str(error).strip().splitlines()[0]}"
        ) from error
    if model.config.num_labels != 1:
        raise ModelError(
            f"The reward model {name!r} gives {model.config.num_labels} numbers for a text; one is "
            "needed.",
            "Name a model that was trained as a reward model (num_labels=1).",
        )
    if not tokenizer.chat_template:
        tokenizer.chat_template = simple_chat_template(tokenizer)
    return model, tokenizer
