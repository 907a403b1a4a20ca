"""Canonical messages: of one form, from those that every data set writes, before any template.

A canonical message has a ``role`` (system, developer, user, assistant, tool) and a ``content``,
which is text. An answer may have ``reasoning_content`` and ``tool_calls``, each call with a
``function`` of a ``name`` and ``arguments``, which are an object; ``train`` is False on one that is
not to be trained on. Keys that are not known stay for the templates that know them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from tasks.datasets.shapes.calls import calls_of
from tasks.datasets.shapes.flags import is_trained
from tasks.datasets.shapes.problems import FILL_IN, EmptyRow, RowProblem, kind_of
from tasks.datasets.shapes.values import is_blank, without_nulls

ROLES = {
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "model", "bot", "ai", "bing", "bard"), "assistant"),
    **dict.fromkeys(("chatbot",), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("function", "function_response", "tool_response", "tool_result"), "tool"),
    **dict.fromkeys(("observation", "ipython"), "tool"),
}
"""Roles of messages, and what ShareGPT and others call them."""
_CALLERS = ("function_call", "tool_call")
_REASONING = ("reasoning_content", "reasoning", "thinking", "thought")
_CONTENTS = ("content", "value", "text", "parts")
_TEXT_PARTS = ("text", "input_text", "output_text")

_REPR = re.compile(r"\s*(?:array\(\s*)?\[?\s*\{\s*'(?:role|from|content|value|type)'\s*:")
"""How Python's print of a list of messages begins, of one, or of a content's parts."""
_MEDIA = re.compile(
    r"(?:^|\n)[^\S\n]*<(?:image|audio|video)>|<(?:image|audio|video)>.{0,12}(?:\n|\Z)"
    r"|<\|(?:image|audio|video)(?:_pad|_\d+)?\|>|<\|vision_start\|>|<start_of_image>|<img>.+</img>",
    re.IGNORECASE,
)
"""Signs that stand for a picture, a sound or a film, at an end of a line or as a token."""


def canonical_messages(items: Sequence[Any], column: str) -> list[dict[str, Any]]:
    """The messages of a list in ``column``. Raises RowProblem."""
    made = (_message(item, column) for item in items)
    return [message for message in made if message is not None]


def _message(item: Any, column: str) -> dict[str, Any] | None:
    if not isinstance(item, Mapping):
        raise RowProblem(f"{column!r} holds an item that is no message")
    message: dict[str, Any] = without_nulls(item)
    name, role = _role(message, column)
    named = next((key for key in _CONTENTS if key in message), None)
    content = message.pop(named) if named is not None else None
    calls = calls_of(message, content if name in _CALLERS else None, column)
    if calls and role != "assistant":
        raise RowProblem(f"a message of the {role} in {column!r} calls a function")
    text = "" if name in _CALLERS else _text(content, role, column)
    if text is None and role == "system":
        return None
    if text is None and not calls:
        if near := get_close_matches("content", message, n=1, cutoff=0.7):
            what = f"a message in {column!r} has no content, but {near[0][:50]!r}"
            raise RowProblem(what, "Call it 'content'.")
        raise RowProblem(f"a message in {column!r} has no content")
    made: dict[str, Any] = {
        "role": role,
        "content": text or "",
        **_reasoning(message, role, column),
    }
    if calls:
        made["tool_calls"] = calls
    if message.get("tools") or message.get("functions"):
        raise RowProblem(
            f"a message of the {role} in {column!r} holds tools",
            "Give the row a column 'tools' beside its messages.",
        )
    if not is_trained(message, role, column) and role == "assistant":
        made["train"] = False
    return made | message


def _role(message: dict[str, Any], column: str) -> tuple[str, str]:
    """What a message calls its role, and the role, taken out of it."""
    said = [message.pop(key) for key in ("role", "from") if key in message]
    if not said or not all(isinstance(name, str) for name in said):
        raise RowProblem(f"a message in {column!r} has no role")
    names = [name.strip().lower().replace("-", "_") for name in said]
    for name, spelled in zip(names, said, strict=True):
        if name not in ROLES:
            raise RowProblem(
                f"a message in {column!r} has the role {spelled[:50]!r}, which is not known",
                "Call it system, user, assistant or tool.",
            )
    if len({ROLES[name] for name in names}) > 1:
        raise RowProblem(f"a message in {column!r} is of two roles, {said[0]!r} and {said[1]!r}")
    return names[0], ROLES[names[0]]


def text_of_parts(value: Any, column: str) -> str | None:
    """The text of a cell in which a system prompt stands as a message would have it."""
    if isinstance(value, Mapping):
        found = [value[key] for key in _CONTENTS if key in value]
        value = found[0] if found else value
    return _text([value] if isinstance(value, Mapping) else value, "system", column)


def _text(content: Any, role: str, column: str) -> str | None:
    if isinstance(content, Mapping) and "type" in content:
        content = [content]
    if isinstance(content, list):
        return "".join(_part(part, column) for part in content)
    if content is None:
        return None
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(content)
    if not isinstance(content, str):
        raise RowProblem(f"the content of a message in {column!r} is {kind_of(content)}")
    refuse_foreign(content, column, asked=role == "user")
    return content


def _part(part: Any, column: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", next(iter(part), "")) if isinstance(part, Mapping) else kind_of(part)
    if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    what = f"a message in {column!r} has a part that is no text: {str(kind)[:50]!r}"
    if any(word in str(kind) for word in ("image", "audio", "video")):
        raise RowProblem(what, "This trains text; vision rows are not supported yet.")
    if kind in ("tool_use", "tool_result"):
        mend = "Write calls as tool_calls of the message, and results as messages of the role tool."
        raise RowProblem(what, mend)
    raise RowProblem(what, "Write the content as text.")


def refuse_foreign(text: str, column: str, *, asked: bool) -> None:
    """Raise RowProblem for a text that is Python's print of messages.

    Or, if it is ``asked``, for one with a sign in the place of an image.
    """
    if _REPR.match(text) and re.search(r"'(?:role|from|text)'", text):
        raise RowProblem(
            f"{column!r} holds a Python list or dict as text",
            "Write it as JSON (json.dumps in Python), or use JSON lines or Parquet.",
        )
    media = _MEDIA.search(text) if asked and "<" in text else None
    if media:
        raise RowProblem(
            f"{column!r} holds {media[0].strip()[:30]}, which stands for what is no text",
            "This trains text; vision rows are not supported yet.",
        )


def _reasoning(message: dict[str, Any], role: str, column: str) -> dict[str, str]:
    found = [value for key in _REASONING if (value := message.pop(key, None))]
    if not found:
        return {}
    if any(other != found[0] for other in found[1:]):
        raise RowProblem(f"a message in {column!r} has two reasonings")
    if not isinstance(found[0], str):
        raise RowProblem(f"the reasoning of a message in {column!r} is {kind_of(found[0])}")
    if role != "assistant":
        raise RowProblem(f"a message of the {role} in {column!r} has a reasoning")
    return {"reasoning_content": found[0]} if found[0].strip() else {}


def conversation(
    messages: Sequence[dict[str, Any]], tools: list[dict[str, Any]] | None = None
) -> dict[str, str]:
    """The stored row of canonical messages. Raises RowProblem if nothing is to be learned."""
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise RowProblem("the conversation has no assistant message to train on")
    empty = [a for a in answers if a.get("train", True) and not says_something(a)]
    if empty:
        rest = " but for its reasoning" if not is_blank(empty[0]["content"]) else ""
        raise EmptyRow(f"an assistant's message is empty{rest}", FILL_IN)
    if not any(answer.get("train", True) for answer in answers):
        raise RowProblem(
            "none of the assistant's messages is to be trained on (weight 0)",
            "Give one the weight 1, or remove the row.",
        )
    row = {"messages": json.dumps(list(messages), ensure_ascii=False)}
    return row if tools is None else {**row, "tools": json.dumps(tools, ensure_ascii=False)}


def says_something(answer: Mapping[str, Any]) -> bool:
    """Whether a canonical answer has words, beside its reasoning, or a call."""
    words = answer["content"].rpartition("</think>")[2]
    return bool(answer.get("tool_calls")) or not is_blank(words)
