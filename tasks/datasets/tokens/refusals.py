"""Refusals of a chat template, in words that tell what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.datasets.shapes.problems import RowProblem


def refused(error: Exception) -> RowProblem:
    """Of a conversation at which the template raised ``error``."""
    said = str(error)
    if "StopIteration" in said or isinstance(error, StopIteration):
        said = "its roles do not follow each other as the template wants them to"
    return RowProblem(
        f"the tokenizer's chat template refuses it: {said[:300]}",
        "Change its messages to what the template allows (often: roles that alternate).",
    )


def no_default(named: Mapping[str, str]) -> RowProblem:
    """Of a tokenizer with several chat templates, none of which is meant for all."""
    return RowProblem(
        f"of the tokenizer's chat templates ({', '.join(sorted(named))}) none is called default",
        "Save the tokenizer with the one to use as its chat template.",
    )


def completed(tool: Mapping[str, Any]) -> dict[str, Any]:
    """``tool`` with all that a schema may have."""
    schema = {"type": "object", "properties": {}}
    function = {"description": "-", "parameters": schema, **tool["function"]}
    return {**tool, "function": function}


def lacking_in(tool: Mapping[str, Any]) -> tuple[str, str] | None:
    """The name of a function and what its schema lacks; None if nothing."""
    function = tool["function"]
    absent = [key for key in ("description", "parameters") if key not in function]
    return (function["name"], " and ".join(absent)) if absent else None


def undescribed(name: str, absent: str) -> RowProblem:
    """Of a schema that lacks something."""
    return RowProblem(
        f"the function {name[:50]!r} of its tools has no {absent}, which the chat template wants",
        "Add it to the function's schema.",
    )
