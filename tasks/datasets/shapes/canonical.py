"""Messages as every data set writes them → messages of one form, before any chat template.

A canonical message has a ``role`` (system, developer, user, assistant, tool) and a ``content``,
which is text. An answer may have ``reasoning_content`` and ``tool_calls``, each call with a
``function`` of a ``name`` and ``arguments``, which are an object; ``train`` is False on one that is
not to be trained on. Keys that are not known stay for the templates that know them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.datasets.shapes.problems import FILL_IN, EmptyRow, RowProblem, kind_of

ROLES = {
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "model", "bot", "ai", "bing", "bard"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("function", "function_response", "tool_response"), "tool"),
    **dict.fromkeys(("observation", "ipython"), "tool"),
}
"""Roles of messages, and what ShareGPT and others call them."""
_CALLERS = ("function_call", "tool_call")
_REASONING = ("reasoning_content", "reasoning", "thinking")
_TRAINED_IF_TRUE = (
    *("weight", "train", "training", "trainable"),
    *("loss", "loss_mask", "loss_weight"),
)
_TRAINED_IF_FALSE = ("mask", "masked", "ignore")
_TRAINED_IN_PARTS = ("train_detail", "training_detail")
_TEXT_PARTS = ("text", "input_text", "output_text")
_DEPTH = 40
"""Of what is nested in a message: with more a template would run out of stack."""

_REPR = re.compile(r"\s*(?:array\(\s*)?\[?\s*\{\s*'(?:role|from|content|value|type)'\s*:")
"""How Python's print of a list of messages begins, of one, or of a content's parts."""
_MEDIA = re.compile(r"\s*<(image|audio|video)>|<(image|audio|video)>\s*\Z")


def canonical_messages(items: Sequence[Any], column: str) -> list[dict[str, Any]]:
    """The messages of a list in ``column``. Raises RowProblem."""
    made = (_message(item, column) for item in items)
    return [message for message in made if message is not None]


def _message(item: Any, column: str) -> dict[str, Any] | None:
    if not isinstance(item, Mapping):
        raise RowProblem(f"{column!r} holds an item that is no message")
    message: dict[str, Any] = without_nulls(item)
    said = message.pop("role", message.pop("from", None))
    message.pop("from", None)
    if not isinstance(said, str):
        raise RowProblem(f"a message in {column!r} has no role")
    name = said.strip().lower().replace("-", "_")
    if name not in ROLES:
        raise RowProblem(
            f"a message in {column!r} has the role {said[:50]!r}, which is not known",
            "Call it system, user, assistant or tool.",
        )
    role = ROLES[name]
    named = "text" if {"value", "content"}.isdisjoint(message) else "value"
    value = message.pop(named, None)
    content = message.pop("content", value)
    calls = _calls(message, content if name in _CALLERS else None, column)
    if calls and role != "assistant":
        raise RowProblem(f"a message of the {role} in {column!r} calls a function")
    text = "" if name in _CALLERS else _text(content, role, column)
    if text is None and role == "system":
        return None
    if text is None and not calls:
        raise RowProblem(f"a message in {column!r} has no content")
    made: dict[str, Any] = {
        "role": role,
        "content": text or "",
        **_reasoning(message, role, column),
    }
    if calls:
        made["tool_calls"] = calls
    if not _is_trained(message, column) and role == "assistant":
        made["train"] = False
    return made | message


def without_nulls(value: Any, depth: int = 0) -> Any:
    """``value`` without keys that hold null or NaN: Arrow gives every object the keys of all.

    Raises RowProblem if it is nested too deep.
    """
    if depth > _DEPTH:
        raise RowProblem(f"it is nested more than {_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {
            str(key): without_nulls(inner, depth + 1)
            for key, inner in value.items()
            if not is_missing(inner)
        }
    if isinstance(value, list | tuple):
        return [without_nulls(inner, depth + 1) for inner in value]
    return value


def is_missing(value: Any) -> bool:
    """Whether ``value`` is null or NaN, which a table has where nothing stands."""
    return value is None or (isinstance(value, float) and math.isnan(value))


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
    kind = part.get("type", "text") if isinstance(part, Mapping) else kind_of(part)
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
    media = (_MEDIA.match(text) or _MEDIA.search(text[-20:])) if asked else None
    if media:
        kind = media[1] or media[2]
        raise RowProblem(
            f"{column!r} holds <{kind}>, which stands for what is no text",
            "This trains text; vision rows are not supported yet.",
        )


def _calls(message: dict[str, Any], content: Any, column: str) -> list[dict[str, Any]]:
    """The calls of a message, taken out of it."""
    calls = message.pop("tool_calls", None)
    legacy = message.pop("function_call", None)
    if content is not None:
        calls = content
    elif legacy and not calls:
        calls = legacy
    if isinstance(calls, str) and calls.strip():
        calls = from_json(calls, f"a tool call in {column!r}")
    if isinstance(calls, Mapping):
        calls = [calls]
    if not calls:
        if content is not None:
            raise RowProblem(f"a message of a function call in {column!r} calls nothing")
        return []
    if not isinstance(calls, list):
        raise RowProblem(f"the tool calls of a message in {column!r} are {kind_of(calls)}")
    return [_call(call, column) for call in calls]


def _call(call: Any, column: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if isinstance(function, str):
        function = {**call, "name": function}
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str) or not name.strip():
        raise RowProblem(f"a tool call in {column!r} names no function")
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = from_json(arguments or "{}", f"the arguments of a tool call in {column!r}")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise RowProblem(f"the arguments of a tool call in {column!r} are {kind_of(arguments)}")
    if re.search(r"\s", name):
        raise RowProblem(f"a tool call in {column!r} names a function with blanks in its name")
    number = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {"type": "function", **number, "function": {"name": name, "arguments": arguments}}


def from_json(text: str, what: str) -> Any:
    """The value that ``text`` holds as JSON. Raises RowProblem."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise RowProblem(f"{what} holds text that is no JSON") from None
    _refuse_depth(found)
    return found


def _refuse_depth(value: Any, depth: int = 0) -> None:
    if depth > _DEPTH:
        raise RowProblem(f"it is nested more than {_DEPTH} levels deep")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        _refuse_depth(part, depth + 1)


def _reasoning(message: dict[str, Any], role: str, column: str) -> dict[str, str]:
    found = [value for key in _REASONING if (value := message.pop(key, None))]
    if not found:
        return {}
    if not isinstance(found[0], str):
        raise RowProblem(f"the reasoning of a message in {column!r} is {kind_of(found[0])}")
    if role != "assistant":
        raise RowProblem(f"a message of the {role} in {column!r} has a reasoning")
    return {"reasoning_content": found[0]} if found[0].strip() else {}


def _is_trained(message: dict[str, Any], column: str) -> bool:
    """What a message's flags say, taken out of it."""
    if any(message.get(name) for name in _TRAINED_IN_PARTS):
        raise RowProblem(
            f"a message in {column!r} says which of its parts are trained on, which is unsupported",
            "Part it into messages with a weight each, or take the key out.",
        )
    trained = True
    for names, wanted in ((_TRAINED_IF_TRUE, True), (_TRAINED_IF_FALSE, False)):
        for name in names:
            if name in message:
                trained &= _flag(message.pop(name), name, column) is wanted
    return trained


def _flag(value: Any, name: str, column: str) -> bool:
    spelled = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}
    found = spelled.get(str(value).strip().lower())
    if found is None:
        raise RowProblem(
            f"a message in {column!r} has the {name} {str(value)[:20]!r}",
            "Give it 0 (not trained on) or 1.",
        )
    return found


def canonical_tools(value: Any, column: str) -> list[dict[str, Any]] | None:
    """The functions that a conversation may call, each as ``{"type", "function"}``; None without.

    JSON text in most data sets. Raises RowProblem.
    """
    if isinstance(value, str) and value.strip():
        value = from_json(value, repr(column))
    if isinstance(value, Mapping):
        value = [value]
    if is_missing(value) or not value or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise RowProblem(f"{column!r} holds no list of functions")
    return [_tool(without_nulls(tool), column) for tool in value]


def _tool(tool: dict[str, Any], column: str) -> dict[str, Any]:
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowProblem(f"{column!r} holds a function without a name")
    return {"type": "function", "function": function}


def conversation(
    messages: Sequence[dict[str, Any]], tools: list[dict[str, Any]] | None = None
) -> dict[str, str]:
    """The stored row of canonical messages. Raises RowProblem where nothing is to be learned."""
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise RowProblem("the conversation has no assistant message to train on")
    if not all(says_something(answer) for answer in answers if answer.get("train", True)):
        raise EmptyRow("an assistant's message is empty", FILL_IN)
    if not any(answer.get("train", True) for answer in answers):
        raise RowProblem(
            "none of the assistant's messages is to be trained on (weight 0)",
            "Give one the weight 1, or remove the row.",
        )
    row = {"messages": json.dumps(list(messages), ensure_ascii=False)}
    return row if tools is None else {**row, "tools": json.dumps(tools, ensure_ascii=False)}


def says_something(answer: Mapping[str, Any]) -> bool:
    """Whether a canonical answer has words or a call."""
    return bool(answer["content"].strip() or answer.get("tool_calls"))
