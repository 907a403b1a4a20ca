"""Habits of chat templates: the form in which one wants what it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Habits:
    """How a template wants what it is given.

    ``parts``: contents as lists of parts. ``json_arguments``: those of a call as JSON text.
    ``bare_calls``: no empty content beside a call. ``developer``: it knows this role.
    """

    parts: bool = False
    json_arguments: bool = False
    bare_calls: bool = False
    developer: bool = False

    def applied(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A canonical message as the template wants it."""
        made = {key: value for key, value in message.items() if key != "train"}
        calls = made.get("tool_calls")
        if calls and self.json_arguments:
            made["tool_calls"] = [_with_json_arguments(call) for call in calls]
        if calls and self.bare_calls and not made["content"]:
            del made["content"]
        elif self.parts:
            made["content"] = [{"type": "text", "text": made["content"]}]
        if made["role"] == "developer" and not self.developer:
            made["role"] = "system"
        return made


def _with_json_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}
