"""From the rows that were chosen to what the trainer reads, and what is said of them."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from tasks.datasets.example import Conversation, conversation_of, example_of
from tasks.datasets.opened import message_keys
from tasks.datasets.parts import Part
from tasks.datasets.report import Report
from tasks.datasets.row_kinds import kind_for
from tasks.datasets.shapes.shape import Shape
from tasks.datasets.shapes.training_rows import StoredRows, placed
from tasks.datasets.split import Indices
from tasks.datasets.tokens.render import Rendering
from tasks.datasets.tokens.tokenise import ChosenRows, Tokenised, nothing_left
from tasks.datasets.tokens.training_variant import training_variant
from tasks.datasets.used import unused_keys
from trainyard.contract.config import JobConfig
from trainyard.contract.verdicts import VerdictKind


@dataclass(frozen=True)
class TrainingData:
    """What the trainer reads. ``eval`` is None if no row evaluates. ``report``: what was found.

    ``turn_end``: the token that ends the answers, if the model does not stop at it yet.
    ``conversation``: one of the rows; None if they are none.
    """

    train: Tokenised
    eval: Tokenised | None
    shape: Shape
    report: Report
    turn_end: int | None = None
    conversation: Conversation | None = None


@dataclass(frozen=True)
class ReadData:
    """The parts of a data set, read, and the rows of them that train and that evaluate."""

    parts: list[Part]
    stored: list[StoredRows]
    shape: Shape
    train: tuple[int, Indices]
    eval: tuple[int, Indices]


def tokenise_data(
    read: ReadData,
    config: JobConfig,
    tokenizer: Any,
    report: Report,
    *,
    max_length: int,
    add_eos: bool,
    cache_dir: Path,
    end_tokens: Collection[int] = (),
) -> TrainingData:
    """Tokenise the rows that ``read`` has chosen; what is found goes into ``report``.

    ``end_tokens``: what the model stops at, beside the tokenizer's end token. Raises DatasetError.
    """
    training, limit = config.training, max_length
    template = training_variant(tokenizer) if config.data.training_template else None
    how = Rendering(
        tokenizer,
        add_eos,
        answers_only=training.completion_only_loss is not False,
        train_on=config.data.train_on,
        template=None if training.how.samples_answers else template,
    )
    if training.how.whole_documents:
        # Packing cuts them, and no token is lost.
        limit = sys.maxsize
    if training.how.samples_answers:
        limit = max_length - training.answer_length

    def tokenised(part: int, indices: Indices) -> Tokenised:
        stored, files = read.stored[part], read.parts[part].files
        files = files if read.parts[part].continuous else ()
        chosen = ChosenRows(stored.dataset, indices, limit, cache_dir, stored.key, files)
        return kind_for(training.method).tokenise(chosen, how, training)

    train = tokenised(*read.train)
    evaluation = tokenised(*read.eval) if len(read.eval[1]) else None
    report.max_length = None if training.how.whole_documents else limit
    for name, side, (part, _) in (("train", train, read.train), ("eval", evaluation, read.eval)):
        if side is not None:
            _report_tokens(report, side, read.parts[part])
            report.splits[name] -= side.refused
    report.used.message_keys = unused_keys(message_keys(read.stored), how.chat_template.sources)
    turn_end = _note_template(report, train, how, end_tokens)
    report.refuse_bad_rows(read.shape.describe())
    if len(train.dataset) == 0 and report.error is None:
        raise nothing_left(limit, len(read.train[1]))
    if "label" in train.dataset.column_names:
        good = sum(train.dataset["label"])
        report.labels = (good, len(train.dataset) - good)
    report.example = example_of(train, tokenizer)
    report.chat_template = _is_chat(train)
    plain = len(train.dataset) and not report.chat_template and not training.how.whole_documents
    if tokenizer.chat_template and plain:
        report.notes.append(
            "The rows are trained on as they stand, without the model's chat template, and so is "
            "the model to be asked. A question and its answer go through it "
            '(config.data.columns, as in {"question": "your column", "answer": "your other '
            'column"}), and so do messages.'
        )
    if evaluation is not None and len(evaluation.dataset) == 0:
        evaluation = None
    part, indices = read.train
    conversation = conversation_of(read.stored[part].dataset, indices, train, how)
    return TrainingData(train, evaluation, read.shape, report, turn_end, conversation)


def _is_chat(data: Tokenised) -> bool:
    """Whether rows went through the chat template, or will."""
    prompt = data.dataset.features.get("prompt")
    asks = prompt is not None and not isinstance(prompt, datasets.Value)
    return asks or data.turn_end is not None


def _report_tokens(report: Report, side: Tokenised, part: Part) -> None:
    limit = report.max_length or sys.maxsize
    report.lengths.update(side.lengths)
    report.longer += sum(rows for length, rows in side.lengths.items() if length > limit)
    report.dropped += side.dropped
    report.tokens = (report.tokens or 0) + side.tokens
    report.trained_tokens = (report.trained_tokens or 0) + side.trained_tokens
    report.left_out.update(side.left_out)
    problems = [placed(part, row, problem) for row, problem in side.problems]
    report.add_problems(side.refused, problems)


def _note_template(
    report: Report, train: Tokenised, how: Rendering, end_tokens: Collection[int]
) -> int | None:
    """What the chat template means for the rows that went through it.

    Returns the token that ends answers, if generation would not stop there yet.
    """
    end = train.turn_end
    if end is None:
        return None
    if how.template is not None:
        report.notes.append(
            "TRL has a variant for training of the tokenizer's chat template: it gives the text, "
            "and the model keeps its own. config.data.training_template false trains on its own."
        )
    if how.chat_template.for_tools is not how.chat_template:
        report.notes.append(
            "The tokenizer has several chat templates: conversations with tools go through its "
            "'tool_use', the others through 'default'."
        )
    if end in (how.tokenizer.eos_token_id, *end_tokens):
        return None
    token = how.tokenizer.convert_ids_to_tokens(end)
    if end not in how.tokenizer.added_tokens_decoder:
        report.turn_end = (
            VerdictKind.NO_END,
            f"no token of the chat template ends an answer (the last is {token!r}): the model does "
            "not learn to stop",
        )
        return None
    report.turn_end = (
        VerdictKind.DATA,
        f"answers end with {token}, at which the model does not stop yet (but at "
        f"{how.tokenizer.eos_token}): the result's generation_config.json gets it",
    )
    return end
