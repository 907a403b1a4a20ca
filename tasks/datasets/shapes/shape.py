"""Recognise what the columns of a data set mean, for supervised fine-tuning and pre-training."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import DatasetError
from trainyard.contract.config import DataConfig
from trainyard.contract.methods import DEFAULT_METHOD, METHODS, RowsName, ShapeName, names


@dataclass(frozen=True)
class Shape:
    """What the columns mean: ``columns`` maps a role to the column that plays it.

    Roles: ``text``; ``prompt`` and ``completion``; ``instruction`` and ``answer`` (a dialogue);
    ``messages``; ``chosen``, ``rejected`` and, unless those hold it, ``prompt`` (a preference).
    Beside those of conversations stand the roles of ``EXTRAS``.
    """

    name: ShapeName
    columns: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """The shape in words: ``question/answer (instruction=question, answer=answer)``."""
        roles = ", ".join(f"{role}={column}" for role, column in self.columns.items())
        return f"{self.title()} ({roles})"

    def title(self) -> str:
        """What people call it: ``question/answer``, ``messages``, ``preference`` and so on."""
        if self.name in ("dialogue", "prompt_completion"):
            roles = ("instruction", "input", "answer", "prompt", "completion")
            return "/".join(self.columns[role].lower() for role in roles if role in self.columns)
        return self.columns["messages"].lower() if self.name == "messages" else self.name


_CHATS = ("messages", "conversations", "conversation", "contents")
_QUESTIONS = ("instruction", "question", "prompt", "input")
_ANSWERS = ("answer", "output", "response", "completion")
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "input": ("input",),
    "context": ("context",),
    "system": ("system_prompt", "system", "system_message", "systeminstruction"),
    "history": ("history",),
    "tools": ("tools", "functions", "available_tools"),
    "instruction": ("instruction",),
}
"""Names of columns that add to the prompt, whatever the shape, by their role."""
_PAIRS = (
    *(("instruction", "output"), ("instruction", "response")),
    *(("question", "answer"), ("question", "response")),
    *(("prompt", "completion"), ("prompt", "response")),
)
_RARER_PAIRS = (
    *(("instruction", "answer"), ("instruction", "completion"), ("question", "output")),
    *(("question", "completion"), ("prompt", "answer"), ("prompt", "output")),
)
_PAIRS_OF_INPUT = (("input", "output"), ("input", "response"), ("input", "answer"))
_RANKS = (_PAIRS, _RARER_PAIRS, _PAIRS_OF_INPUT)
"""Columns of a question and its answer; the first rank of which the data set has any counts."""

_FORMATS: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "plain", "plain_text", "raw"),
    "prompt_completion": ("prompt_completion", "completion"),
    "question": ("question_answer", "qa", "openorca", "orca"),
    "instruction": ("instruction", "instruct", "alpaca", "instruction_input_output"),
    "messages": ("messages", "openai", "chat", "chatml", "conversational"),
    "conversations": ("sharegpt", "conversations"),
    "preference": ("preference", "preferences"),
}
_FORMAT_OF = {name: shape for shape, names in _FORMATS.items() for name in names}

_TOLD: Mapping[RowsName, tuple[str, ...]] = {
    "answers": ("question", "answer"),
    "documents": ("text",),
    "pairs": ("prompt", "chosen", "rejected"),
    "labelled": ("question", "answer", "label"),
    "prompts": ("prompt",),
}
"""Roles that ``config.data.columns`` may give to columns of other names, by the kind of rows."""
SAMPLE_CHARACTERS = 70


def needs(method: str, columns: Sequence[str] = ()) -> str:
    """What ``method`` needs, and how to tell it of columns with other names.

    Where ``columns`` fit another method, that is named before all else.
    """
    how = METHODS[method]
    roles = {role: _nearest(role, columns) for role in _TOLD[how.rows]}
    told = json.dumps(roles, ensure_ascii=False)
    return (
        f"{looks_like(columns, method)}{method} needs {how.needs} (docs/data-sets.md has every "
        f"shape). Other names can be told with config.data.columns, as in {told}."
    )


def _nearest(role: str, columns: Sequence[str]) -> str:
    """The column that is called so or nearly so, as in ``Question text``; else a word for it."""
    for column in columns:
        name = column.lower()
        if role in re.split(r"[^a-z]", name) or difflib.get_close_matches(role, [name], 1, 0.8):
            return column
    return "YOURS"


def looks_like(columns: Sequence[str], method: str) -> str:
    """A sentence that names the method that ``columns`` fit; empty if it is ``method``."""
    by_lower = {column.lower(): column for column in reversed(columns)}
    answers = {"chosen", "rejected"} & set(by_lower)
    shapes = [] if answers else _candidates(by_lower, None)
    shape: ShapeName
    if len(answers) == 2:
        kind, shape = "preference pairs", "preference"
    elif shapes:
        kind, shape = " and ".join(shape.title() for shape in shapes), shapes[0].name
    elif "prompt" in by_lower and not answers:
        kind, shape = "prompts without answers", "prompt"
    else:
        return ""
    fits = names(lambda how: shape in how.shapes)
    if method in fits:
        return ""
    return f"This looks like {kind}: send config.training.method {' or '.join(fits)}. "


def told_format(dataset_format: str | None) -> str | None:
    """Which shape ``config.data.dataset_format`` names; None if it names none of ours."""
    name = (dataset_format or "").strip().lower().replace("-", "_").replace(" ", "_")
    return _FORMAT_OF.get(name)


def recognise_shape(
    columns: Sequence[str], data: DataConfig | None = None, method: str = DEFAULT_METHOD
) -> Shape:
    """Recognise what ``columns`` mean for supervised fine-tuning.

    ``data`` may tell it (``columns``, role → column; ``text_field``; ``dataset_format``); a
    ``text_field`` of ``text`` is every client's default, and says nothing. Raises DatasetError
    that names the columns and what is needed.
    """
    data = data or DataConfig()
    told, text_field, dataset_format = data.columns, data.text_field, data.dataset_format
    kind = told_format(dataset_format)
    if told:
        return _shape_as_told(columns, told, kind, method)
    if text_field and text_field != "text":
        if text_field in columns:
            return Shape("text", {"text": text_field})
        raise DatasetError(
            f"config.data.text_field is {text_field!r}, but the data set's columns are "
            f"{listed(columns)}.",
            needs(method, columns),
        )
    by_lower = {column.lower(): column for column in reversed(columns)}
    candidates = _candidates(by_lower, kind)
    fitting = [shape for shape in candidates if shape.name in METHODS[method].shapes]
    candidates = fitting or candidates
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        ways = " or ".join(shape.describe() for shape in candidates)
        raise DatasetError(
            f"The data set's columns ({listed(columns)}) can be read in more than one way: {ways}.",
            f"Say which columns to use{_formats(candidates)}. {needs(method)}",
        )
    as_told = f" for config.data.dataset_format {dataset_format!r}" if kind else ""
    raise DatasetError(
        f"No usable column in the data set{as_told}: its columns are {listed(columns)}.",
        needs(method, columns),
    )


def _formats(candidates: Sequence[Shape]) -> str:
    """How to choose between a conversation and a text."""
    if not any(shape.name == "text" for shape in candidates):
        return ""
    return ", or send config.data.dataset_format 'messages' or 'text'"


def _candidates(by_lower: Mapping[str, str], kind: str | None) -> list[Shape]:
    """The shapes that the columns have: conversations before pairs, pairs before text."""
    if kind == "preference":
        return []
    chats = [name for name in _CHATS if name in by_lower]
    if kind in ("messages", "conversations") and len(chats) > 1:
        chats = chats[:1] if kind == "messages" else chats[1:2]
    if chats and kind in (None, "messages", "conversations"):
        texts = [Shape("text", {"text": by_lower["text"]})] if "text" in by_lower else []
        return [_chat(by_lower, name) for name in chats] + (texts if kind is None else [])
    if kind in (None, "question", "instruction", "prompt_completion"):
        for rank in _RANKS:
            found = [_pair(by_lower, q, a, kind) for q, a in rank if {q, a} <= set(by_lower)]
            wanted = [shape for shape in found if _is(shape, kind)] or found
            if wanted:
                return wanted
    if "text" in by_lower and kind in (None, "text"):
        return [Shape("text", {"text": by_lower["text"]})]
    return []


def _is(shape: Shape, kind: str | None) -> bool:
    question = shape.columns.get("instruction", shape.columns.get("prompt", "")).lower()
    return kind is None or question == kind.partition("_")[0]


def _chat(by_lower: Mapping[str, str], name: str) -> Shape:
    made = {"messages": by_lower[name]}
    return Shape("messages", made | extras(by_lower, made))


def _pair(by_lower: Mapping[str, str], question: str, answer: str, kind: str | None) -> Shape:
    made = {"prompt": by_lower[question], "completion": by_lower[answer]}
    joined = kind in (None, "prompt_completion")
    # With a system prompt or the like it is a conversation.
    if (question, answer) == ("prompt", "completion") and joined and not extras(by_lower, made):
        return Shape("prompt_completion", made)
    roles = {"instruction": by_lower[question], "answer": by_lower[answer]}
    return Shape("dialogue", roles | extras(by_lower, roles))


def extras(
    by_lower: Mapping[str, str],
    made: Mapping[str, str],
    told: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The columns that add to the prompt beside those of ``made``; only those ``told``, if any."""
    taken = {column.lower() for column in made.values()}
    found = {}
    for role, spellings in EXTRAS.items():
        if role in made or (role == "instruction" and "messages" not in made):
            continue
        name = next((name for name in spellings if name in by_lower and name not in taken), None)
        if told is not None and role in told:
            found[role] = told[role]
        elif told is None and name is not None:
            found[role] = by_lower[name]
    # Beside a question it says how to answer, as beside messages.
    spare = "instruction" in by_lower and "instruction" not in taken
    if told is None and spare and not {"instruction", "system"} & set(found):
        found["system"] = by_lower["instruction"]
    return found


def _shape_as_told(
    columns: Sequence[str], told: Mapping[str, str], kind: str | None, method: str
) -> Shape:
    refuse_untold(columns, told, method)
    roles = dict(told)
    added = {role: roles[role] for role in EXTRAS if role in roles}
    chat = next((roles[name] for name in _CHATS if name in roles), None)
    if chat is not None:
        return Shape("messages", {"messages": chat, **added})
    if "text" in roles:
        return Shape("text", {"text": roles["text"]})
    joined = not added and kind in (None, "prompt_completion")
    if {"prompt", "completion"} <= set(roles) and joined:
        return Shape("prompt_completion", {name: roles[name] for name in ("prompt", "completion")})
    question = next((name for name in _QUESTIONS if name in roles), None)
    answer = next((roles[name] for name in _ANSWERS if name in roles), None)
    if question is None or answer is None:
        raise DatasetError(
            f"config.data.columns has the roles {listed(list(roles))}, which make no row to "
            "train on.",
            needs(method, [*columns, *roles]),
        )
    added.pop(question, None)
    return Shape("dialogue", {**added, "instruction": roles[question], "answer": answer})


def refuse_untold(columns: Sequence[str], told: Mapping[str, str], method: str) -> None:
    """Raise DatasetError if ``config.data.columns`` names a column that is not there."""
    missing = [column for column in told.values() if column not in columns]
    if missing:
        raise DatasetError(
            f"config.data.columns names {listed(missing)}, but the data set's columns are "
            f"{listed(columns)}.",
            needs(method),
        )


def samples(rows: Iterable[Mapping[str, Any]]) -> str:
    """Three rows for a message, each cut to so many characters."""
    texts = []
    for row, _ in zip(rows, range(3), strict=False):
        text = json.dumps(row, ensure_ascii=False, default=str)
        cut = len(text) > SAMPLE_CHARACTERS
        texts.append(text[: SAMPLE_CHARACTERS - 1] + "…" if cut else text)
    return " ".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))


def listed(names: Sequence[str]) -> str:
    """Names in quotes, for a message."""
    return ", ".join(repr(name) for name in names[:50]) or "none"
