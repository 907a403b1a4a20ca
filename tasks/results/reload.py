"""Reload of a result, in a fresh process that has its folder and, of an adapter, the base model.

What is found wrong comes back as sentences, an error that the libraries raise as what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from peft import PeftModel
from transformers import AutoConfig, AutoTokenizer, BitsAndBytesConfig, GenerationConfig
from transformers.utils import logging as transformers_logging

from tasks.datasets.example import Conversation
from tasks.errors import ModelError, report
from tasks.fresh_process import Failed
from tasks.models.adapter import check_keys
from tasks.models.end_tokens import as_list
from tasks.models.kind import class_of
from tasks.models.whole import check_whole
from tasks.results.dtype import dtype_of_files
from tasks.results.reference import RowReference, difference, logits_of
from trainyard.contract.errors import ErrorKind

CHECK = "tasks.results.reload:check"
_TOKENS_BEYOND = 8
"""How many more tokens than the row has are generated, to see that none comes."""
_ROOM = 1.2
"""Of a GPU's memory, for the weights and what a forward pass needs beside them."""


@dataclass(frozen=True)
class Question:
    """What the folder is to hold.

    ``base``: the base model's folder, of an adapter. ``says``: what the model says to a few rows.
    ``ends``: the tokens it stops at. ``texts`` with their tokens, and a ``conversation`` with its
    text, are the tokenizer's. ``saved_dtype``: of the files; ``dtype``: what it is computed in, as
    it was for ``says``; ``limit``: the largest difference that is rounding. ``scores``: it gives a
    text one number.
    """

    folder: str
    base: str | None
    says: Sequence[RowReference]
    ends: Sequence[int]
    texts: Sequence[tuple[str, list[int]]]
    conversation: Conversation | None
    saved_dtype: str
    dtype: str
    limit: float
    on_gpu: bool = False
    quantization: dict[str, Any] | None = None
    remote_code: bool = False
    scores: bool = False


def check(questions: Sequence[Question]) -> list[list[str] | Failed]:
    """What is wrong with each result; nothing if it is what was trained."""
    constants.HF_HUB_OFFLINE = True
    transformers_logging.disable_progress_bar()
    return [_check(question) for question in questions]


def _check(question: Question) -> list[str] | Failed:
    try:
        return [*_tokenizer(question), *_files(question), *_model(question)]
    except Exception as error:
        if report(error).kind is ErrorKind.OUT_OF_MEMORY:
            raise  # which says nothing of the folder
        return Failed.of(error)


def _tokenizer(question: Question) -> Iterator[str]:
    tokenizer = AutoTokenizer.from_pretrained(
        question.folder, trust_remote_code=question.remote_code, local_files_only=True
    )
    for text, ids in question.texts:
        if list(tokenizer(text, add_special_tokens=False)["input_ids"]) != ids:
            yield f"its tokenizer makes other tokens of {text[:60]!r} than were trained on"
            return
    said = question.conversation
    if said is None:
        return
    if not tokenizer.chat_template:
        yield "its tokenizer has no chat template"
        return
    text = tokenizer.apply_chat_template(said.messages, tools=said.tools, tokenize=False)
    if text != said.text:
        yield f"its chat template makes {text[:200]!r} of what was trained as {said.text[:200]!r}"


def _files(question: Question) -> Iterator[str]:
    folder = Path(question.folder)
    found = dtype_of_files(folder)
    if found != question.saved_dtype:
        yield f"its weights are {found}, not {question.saved_dtype}"
    if question.base is None and (
        named := AutoConfig.from_pretrained(folder, trust_remote_code=question.remote_code).dtype
    ) != getattr(torch, question.saved_dtype):
        yield f"its config.json says {named}, and its weights are {question.saved_dtype}"
    if question.scores:
        return
    stops = as_list(GenerationConfig.from_pretrained(folder).eos_token_id)
    if missing := [token for token in question.ends if token not in stops]:
        yield (
            f"its generation_config.json stops at the tokens {stops}, and not at {missing}, which "
            "ends what was trained: a generation would run to its limit"
        )


def _model(question: Question) -> Iterator[str]:
    try:
        model = load(question)
    except ModelError as error:
        yield error.sentence
        return
    for reference in question.says:
        found = difference(reference.logits, logits_of(model, reference.row.ids)[reference.places])
        if not found <= question.limit:
            yield (
                f"its logits differ from the trained model's by {found:.2g} of their size, and "
                f"rounding makes {question.limit:g} at most"
            )
            return
    known = next((reference for reference in question.says if reference.by_heart), None)
    if known is not None:
        yield from _stop(question, model, known)


def load(question: Question) -> Any:
    """The model, by the standard classes, as anybody would load it. Raises ModelError."""
    folder = Path(question.base or question.folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=question.remote_code)
    chosen = class_of(config, trust_remote_code=question.remote_code, scores=question.scores)
    more: dict[str, Any] = {"num_labels": 1} if question.scores else {}
    if question.quantization:
        more["quantization_config"] = BitsAndBytesConfig(**question.quantization)
    if question.on_gpu and _fits(folder):
        more["device_map"] = {"": torch.cuda.current_device()}
    model, info = chosen.from_pretrained(
        folder,
        dtype=getattr(torch, question.dtype),
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        local_files_only=True,
        trust_remote_code=question.remote_code,
        **more,
    )
    check_whole(info, folder.name, new_head=question.scores and question.base is not None)
    if question.base is not None:
        model = PeftModel.from_pretrained(model, question.folder, local_files_only=True)
        check_keys(model, Path(question.folder), folder.name)
    return model.eval()


def _fits(folder: Path) -> bool:
    """Whether the GPU has room beside the training, which is done."""
    bytes_of_weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    free, _ = torch.cuda.mem_get_info()
    return bool(free > _ROOM * bytes_of_weights)


def _stop(question: Question, model: Any, known: RowReference) -> Iterator[str]:
    """A row that the model knows by heart ends where it ended in training.

    If the generation goes another way (a penalty of the base model's configuration, say) nothing
    is known of its end.
    """
    row = known.row
    asked = torch.tensor([row.ids[: row.trained]], device=model.device)
    how = GenerationConfig.from_pretrained(question.folder)
    how.update(
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        max_new_tokens=row.end + 1 - row.trained + _TOKENS_BEYOND,
        pad_token_id=question.ends[0],
    )
    given = model.generate(
        input_ids=asked, attention_mask=torch.ones_like(asked), generation_config=how
    )[0].tolist()
    end = row.end + 1
    if given[:end] == row.ids[:end] and len(given) > end:
        yield (
            f"a generation of a row that it knows by heart passes over its end (token "
            f"{row.ids[row.end]}) and goes on with {given[end:]}"
        )
