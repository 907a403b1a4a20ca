"""Recognise what the columns of a data set mean, for supervised fine-tuning and pre-training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import DatasetError
from trainyard.contract.methods import DEFAULT_METHOD, ShapeName, data_needs, names


@dataclass(frozen=True)
class Shape:
    """What the columns mean: ``columns`` maps a role to the column that plays it.

    Roles: ``text``; ``prompt`` and ``completion``; ``instruction``, ``answer`` and, where there
    are, ``input`` and ``system`` (a dialogue); ``messages`` and, where there are, ``system`` and
    ``tools``; ``chosen``, ``rejected`` and, unless those hold it, ``prompt`` (a preference).
    """

    name: ShapeName
    columns: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """The shape in words: ``dialogue (instruction=question, answer=answer)``."""
        roles = ", ".join(f"{role}={column}" for role, column in self.columns.items())
        return f"{self.name} ({roles})"

    def title(self) -> str:
        """What people call it: ``question/answer``, ``messages``, ``preference`` and so on."""
        if self.name in ("dialogue", "prompt_completion"):
            roles = ("instruction", "input", "answer", "prompt", "completion")
            return "/".join(self.columns[role].lower() for role in roles if role in self.columns)
        return self.columns["messages"].lower() if self.name == "messages" else self.name


_CHATS = ("messages", "conversations", "conversation")
_QUESTIONS = ("instruction", "question", "prompt", "input")
_ANSWERS = ("answer", "output", "response", "completion")
_SYSTEMS = ("system_prompt", "system")
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

HOW_TO_TELL = (
    'Other names can be told with config.data.columns, as in {"prompt": "your column", '
    '"completion": "your other column"}, or with config.data.text_field.'
)
SAMPLE_CHARACTERS = 150


def needs(method: str, columns: Sequence[str] = ()) -> str:
    """What every method needs, that of ``method`` first, and how to tell other names.

    Where ``columns`` fit another method, that is named before all else.
    """
    return f"{looks_like(columns, method)}{data_needs(method)} {HOW_TO_TELL}"


def looks_like(columns: Sequence[str], method: str) -> str:
    """A sentence that names the method that ``columns`` fit; empty where it is ``method``."""
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
    """Which shape ``config.data.dataset_format`` names; None where it names none of ours."""
    name = (dataset_format or "").strip().lower().replace("-", "_").replace(" ", "_")
    return _FORMAT_OF.get(name)


def recognise_shape(
    columns: Sequence[str],
    *,
    text_field: str | None = None,
    told: Mapping[str, str] | None = None,
    dataset_format: str | None = None,
    method: str = DEFAULT_METHOD,
) -> Shape:
    """Recognise what ``columns`` mean for supervised fine-tuning.

    ``told`` is ``config.data.columns`` (role → column), ``text_field`` is
    ``config.data.text_field`` (``text`` is every client's default and may be absent). Raises
    DatasetError that names the columns and what is needed.
    """
    kind = told_format(dataset_format)
    if told:
        return _shape_as_told(columns, told, kind, method)
    if text_field and text_field in columns:
        return Shape("text", {"text": text_field})
    if text_field and text_field != "text":
        raise DatasetError(
            f"config.data.text_field is {text_field!r}, but the data set's columns are "
            f"{listed(columns)}.",
            needs(method, columns),
        )
    by_lower = {column.lower(): column for column in reversed(columns)}
    candidates = _candidates(by_lower, kind)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        ways = " or ".join(shape.describe() for shape in candidates)
        raise DatasetError(
            f"The data set's columns ({listed(columns)}) can be read in more than one way: {ways}.",
            f"Say which columns to use. {needs(method)}",
        )
    as_told = f" for config.data.dataset_format {dataset_format!r}" if kind else ""
    raise DatasetError(
        f"No usable column in the data set{as_told}: its columns are {listed(columns)}.",
        needs(method, columns),
    )


def _candidates(by_lower: Mapping[str, str], kind: str | None) -> list[Shape]:
    """The shapes that the columns have: conversations before pairs, pairs before text."""
    if kind == "preference":
        return []
    chats = [name for name in _CHATS if name in by_lower]
    if kind in ("messages", "conversations") and len(chats) > 1:
        chats = chats[:1] if kind == "messages" else chats[1:2]
    if chats and kind in (None, "messages", "conversations"):
        return [_chat(by_lower, name) for name in chats]
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
    return Shape("messages", {"messages": by_lower[name], **_extras(by_lower, "system", "tools")})


def _pair(by_lower: Mapping[str, str], question: str, answer: str, kind: str | None) -> Shape:
    joined = kind in (None, "prompt_completion")
    if (question, answer) == ("prompt", "completion") and joined:
        return Shape("prompt_completion", {q: by_lower[q] for q in (question, answer)})
    roles = {"instruction": by_lower[question], "answer": by_lower[answer]}
    more = (
        _extras(by_lower, "system") if question == "input" else _extras(by_lower, "input", "system")
    )
    return Shape("dialogue", roles | more)


def _extras(by_lower: Mapping[str, str], *roles: str) -> dict[str, str]:
    names = {"input": ("input",), "system": _SYSTEMS, "tools": ("tools",)}
    return {
        role: by_lower[name]
        for role in roles
        for name in [next((name for name in names[role] if name in by_lower), None)]
        if name is not None
    }


def _shape_as_told(
    columns: Sequence[str], told: Mapping[str, str], kind: str | None, method: str
) -> Shape:
    refuse_untold(columns, told, method)
    roles = dict(told)
    optional: tuple[str, ...] = ("input", "system", "tools")
    extras = {role: roles[role] for role in optional if role in roles}
    chat = next((roles[name] for name in _CHATS if name in roles), None)
    if chat is not None:
        extras.pop("input", None)
        return Shape("messages", {"messages": chat, **extras})
    if "text" in roles:
        return Shape("text", {"text": roles["text"]})
    if {"prompt", "completion"} <= set(roles) and kind in (None, "prompt_completion"):
        return Shape("prompt_completion", {name: roles[name] for name in ("prompt", "completion")})
    question = next((name for name in _QUESTIONS if name in roles), None)
    answer = next((roles[name] for name in _ANSWERS if name in roles), None)
    if question is None or answer is None:
        raise DatasetError(
            f"config.data.columns has the roles {listed(list(roles))}, which make no row to "
            "train on.",
            needs(method, [*columns, *roles]),
        )
    extras.pop("tools", None)
    if question == "input":
        extras.pop("input")
    return Shape("dialogue", {"instruction": roles[question], "answer": answer, **extras})


def refuse_untold(columns: Sequence[str], told: Mapping[str, str], method: str) -> None:
    """Raise DatasetError where ``config.data.columns`` names a column that is not there."""
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
