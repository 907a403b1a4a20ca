"""Prompts as token ids, for the method that samples its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow

from tasks.datasets.cache import Columns
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.shapes.prompts import _FIELDS, _MESSAGES
from tasks.datasets.tokens.encode import ROWS_PER_BATCH
from tasks.datasets.tokens.render import Rendering
from tasks.datasets.tokens.tokenise import ChosenRows, Tally, Tokenised
from tasks.datasets.tokens.turns import turns_of
from tasks.errors import DatasetError

_UNANSWERED = RowProblem(
    "there is no answer, with which the reward function 'answer' compares",
    "Give the row an answer, or leave 'answer' out of config.training.rlhf.reward_functions.",
)
_PARTS = RowProblem(
    "the chat template wants contents as lists of parts, which this method does not give it",
    "Use another chat template.",
)


def collect_prompts(chosen: ChosenRows, how: Rendering, *, compared: bool = False) -> Tokenised:
    """``prompt`` (text or messages) and ``answer`` of ``chosen``; cached by content.

    A prompt of more than ``max_length`` tokens is dropped. ``trained_tokens`` is 0: what is trained
    on is generated later. ``compared``: a reward compares with the answer, so that a row needs one.
    Raises DatasetError where no prompt is left.
    """
    chat = any(prompt.startswith("[") for prompt in chosen.rows["prompt"])
    schema = pyarrow.schema([("prompt", _MESSAGES if chat else pyarrow.string()), *_FIELDS])
    indices = chosen.indices

    def columns(tally: Tally) -> Iterator[Columns]:
        for start in range(0, len(indices), ROWS_PER_BATCH):
            batch = chosen.rows[indices[start : start + ROWS_PER_BATCH]]
            yield _columns(tally, batch, how, chat, compared)

    found = chosen.tokenised(["prompts", chosen.max_length, chat, compared], how, schema, columns)
    if len(found.dataset) == 0 and len(indices) and not found.refused:
        raise DatasetError(
            f"Of {len(indices)} prompts, none has {chosen.max_length} tokens or fewer.",
            "Raise config.training.max_length, or lower training.rlhf.max_completion_length.",
        )
    return found


def _columns(
    tally: Tally, batch: dict[str, list[Any]], how: Rendering, chat: bool, compared: bool
) -> Columns:
    prompts = [json.loads(prompt) for prompt in batch["prompt"]]
    found: list[Any]
    if chat:
        prompts = [_as_chat(prompt) for prompt in prompts]
        found = turns_of(how.chat_template, prompts, prompt=True)
        if how.chat_template.habits.parts:
            found = [_PARTS for _ in prompts]
        prompts = [[how.chat_template.wanted(item) for item in prompt] for prompt in prompts]
    else:
        # What samples the answers adds the token by itself.
        found = prompts = [prompt.removeprefix(how.bos) for prompt in prompts]
    columns: Columns = {"prompt": [], **{name: [] for name, _ in _FIELDS}}
    for number, prompt, answer, text in zip(
        batch["row"], prompts, batch["completion"], found, strict=True
    ):
        if isinstance(text, RowProblem) or (compared and not answer.strip()):
            tally.refuse(number, text if isinstance(text, RowProblem) else _UNANSWERED)
            continue
        words = text.text if chat else text
        length = len(how.tokenizer(words, add_special_tokens=not chat)["input_ids"])
        tally.lengths[length] += 1
        if length > tally.max_length:
            tally.dropped += 1
            continue
        tally.tokens += length
        tally.first_row = tally.first_row or number
        for name, value in zip(columns, (prompt, number, answer), strict=True):
            columns[name].append(value)
    return columns


def _as_chat(prompt: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
