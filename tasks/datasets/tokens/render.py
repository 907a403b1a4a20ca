"""Training rows → the text that the model will see, and the parts of it that are trained on.

Trained on are an answer, the assistant's turns, or all of a plain text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from tasks.datasets.shapes.canonical import says_something
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.patterns import Span
from tasks.datasets.tokens.template import ChatTemplate, Messages
from tasks.datasets.tokens.turns import Turns, turns_of

TrainOn = Literal["all", "last"]


@dataclass(frozen=True)
class Rendered:
    """A row as the model will see it. ``trained`` are spans of characters.

    ``special``: the tokenizer adds its own special tokens; a chat template has written them.
    ``left_out`` names what the chat template leaves out by its design. ``beyond``: tokens of a long
    row that are not of its ``text``, since no training comes to them.
    """

    text: str
    trained: tuple[Span, ...]
    special: bool
    ends_with_eos: bool
    left_out: tuple[str, ...] = ()
    conversation: bool = False
    beyond: int = 0


@dataclass(frozen=True)
class Documents:
    """Rows that are the paragraphs of documents: those that open one, and those that close one."""

    opening: frozenset[int]
    closing: frozenset[int]


@dataclass(frozen=True)
class Rendering:
    """How rows become texts.

    ``add_eos``: plain text ends with the end token. ``answers_only``: of a row with an answer,
    nothing else is trained on; of a conversation, ``train_on`` all of the assistant's turns or the
    last. ``template``: a chat template in place of the tokenizer's own. ``documents``: which rows
    are one document; without it each is one.
    """

    tokenizer: Any
    add_eos: bool = True
    answers_only: bool = True
    train_on: TrainOn = "all"
    template: str | None = None
    documents: Documents | None = field(default=None, repr=False)

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The chat template that is used."""
        return ChatTemplate(self.tokenizer, self.template)

    @cached_property
    def bos(self) -> str:
        """The token that the tokenizer begins a text with, as text; empty if it adds none."""
        return added_bos(self.tokenizer)

    def plain(self, text: str, trained: Span, *, ends: bool = True, opens: bool = True) -> Rendered:
        """A text that goes through no chat template; its BOS and its end stand there once."""
        has_bos = bool(self.bos) and text.startswith(self.bos)
        begin = max(trained[0], len(self.bos) if has_bos else 0)
        return Rendered(
            text,
            ((begin, trained[1]),),
            special=opens and not has_bos,
            ends_with_eos=ends and self.add_eos and not self._has_ended(text),
        )

    def _has_ended(self, text: str) -> bool:
        """Whether blanks follow the end token: an end token at the very end is labelled as one."""
        return text[-1:].isspace() and text.rstrip().endswith(self.tokenizer.eos_token or "\0")

    def conversation(
        self, text: str, trained: tuple[Span, ...], left_out: tuple[str, ...] = ()
    ) -> Rendered:
        """A text that a chat template has made: all special tokens stand in it."""
        return Rendered(text, trained, False, False, left_out, conversation=True)


def added_bos(tokenizer: Any) -> str:
    """The token that ``tokenizer`` begins a text with, as text; empty if it adds none."""
    bos = tokenizer.bos_token_id
    adds = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return str(tokenizer.bos_token) if adds else ""


def render(rows: Sequence[dict[str, Any]], how: Rendering) -> list[Rendered | RowProblem]:
    """Render training rows, in order; a RowProblem if one cannot be trained on."""
    chats = {n: json.loads(row["messages"]) for n, row in enumerate(rows) if row["messages"]}
    tools = [json.loads(rows[n]["tools"]) if rows[n].get("tools") else None for n in chats]
    turns = turns_of(how.chat_template, list(chats.values()), tools) if chats else []
    found = dict(zip(chats, turns, strict=True))
    rendered: list[Rendered | RowProblem] = []
    for number, row in enumerate(rows):
        item = (
            _rendered_chat(found[number], chats[number], how)
            if number in chats
            else _rendered_plain(row, how)
        )
        if isinstance(item, Rendered) and not how.answers_only:
            item = replace(item, trained=((0, len(item.text)),))
        rendered.append(item)
    return rendered


def _rendered_plain(row: Mapping[str, Any], how: Rendering) -> Rendered:
    if row["text"] is None:
        text = row["prompt"] + row["completion"]
        return how.plain(text, (len(row["prompt"]), len(text)))
    text, documents = row["text"], how.documents
    if documents is None:
        return how.plain(text, (0, len(text)))
    opens, ends = row["row"] in documents.opening, row["row"] in documents.closing
    return how.plain(text, (0, len(text)), opens=opens, ends=ends)


def _rendered_chat(
    turns: Turns | RowProblem, chat: Messages, how: Rendering
) -> Rendered | RowProblem:
    if isinstance(turns, RowProblem):
        return turns
    answers = [number for number, message in enumerate(chat) if message["role"] == "assistant"]
    if how.train_on == "last":
        answers = answers[-1:]
    trained = [number for number in answers if chat[number].get("train", True)]
    if not trained:
        return RowProblem(
            "none of the assistant's messages is to be trained on",
            "Give one the weight 1, or remove the row.",
        )
    if not all(says_something(how.chat_template.without_ends(chat[number])) for number in trained):
        return RowProblem(
            "an assistant's message is empty but for the token that ends it",
            "Fill it in, give it the weight 0, or remove the row.",
        )
    return how.conversation(turns.text, turns.of(trained), turns.left_out)


def chat_texts(
    tokenizer: Any, chats: Sequence[Messages], *, prompt: bool = False
) -> list[str | RowProblem]:
    """``chats`` by the tokenizer's own chat template; ``prompt``: with an answer's beginning."""
    return ChatTemplate(tokenizer).texts(chats, prompt=prompt)
