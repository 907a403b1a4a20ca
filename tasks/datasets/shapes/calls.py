"""Calls of functions, and the functions that may be called, as every data set writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tasks.datasets.shapes.problems import RowProblem, kind_of
from tasks.datasets.shapes.values import from_json, is_missing, without_nulls

_SPELLINGS = ("tool_calls", "function_call", "tool_call", "function_calls")
_ARGUMENTS = ("arguments", "parameters", "input", "args", "kwargs")
_SCHEMAS = ("parameters", "input_schema", "inputSchema")


def calls_of(message: dict[str, Any], content: Any, column: str) -> list[dict[str, Any]]:
    """The calls of a message, taken out of it."""
    found = [calls for key in _SPELLINGS if (calls := message.pop(key, None))]
    calls = content if content is not None else found[0] if found else None
    if any(other != found[0] for other in found[1:]):
        raise RowProblem(f"a message in {column!r} names its calls twice, and not alike")
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
    spelled = [key for key in _ARGUMENTS if key in function]
    if len(spelled) > 1:
        raise RowProblem(f"a tool call in {column!r} has both {spelled[0]} and {spelled[1]}")
    arguments = function[spelled[0]] if spelled else {}
    if isinstance(arguments, str):
        arguments = from_json(arguments or "{}", f"the arguments of a tool call in {column!r}")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise RowProblem(f"the arguments of a tool call in {column!r} are {kind_of(arguments)}")
    if re.search(r"\s", name):
        raise RowProblem(f"a tool call in {column!r} names a function with blanks in its name")
    own_id = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {"type": "function", **own_id, "function": {"name": name, "arguments": arguments}}


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
    if not isinstance(value, list):
        raise RowProblem(f"{column!r} holds no list of functions")
    tools = [from_json(tool, repr(column)) if isinstance(tool, str) else tool for tool in value]
    if not all(isinstance(tool, Mapping) for tool in tools):
        raise RowProblem(f"{column!r} holds no list of functions")
    return [_tool(without_nulls(tool), column) for tool in tools]


def _tool(tool: dict[str, Any], column: str) -> dict[str, Any]:
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowProblem(f"{column!r} holds a function without a name")
    # Anthropic and others call the schema by another name.
    spelled = next((key for key in _SCHEMAS if key in function), None)
    if spelled is not None:
        function["parameters"] = function.pop(spelled)
    return {"type": "function", "function": function}
