"""A tokenizer's chat template: how it renders conversations, and what it puts around their turns.

Found out by rendering a few conversations of known words, once per template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeAlias

from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.habits import (
    Habits,
    TurnFrame,
    closing_of,
    common_end,
    common_prefix,
    without_idle_rounds,
)
from tasks.datasets.tokens.patterns import Patterns
from tasks.datasets.tokens.refusals import (
    completed,
    lacking_in,
    no_default,
    refused,
    undescribed,
)

Messages: TypeAlias = list[dict[str, Any]]

_USER, _ANSWER, _REASON = "57038110", "57038220", "57038330"  # words have a case to change
_NAME, _VALUE, _RESULT = "zfunction", "Zvalue", "Zresult"


class ChatTemplate:
    """The chat template ``source`` (by default the tokenizer's own) of ``tokenizer``."""

    def __init__(self, tokenizer: Any, source: str | None = None) -> None:
        self._tokenizer = tokenizer
        self.named: dict[str, str] = named_templates(tokenizer)
        self.source: str = source or self.named.get("default", "")
        self._quick = without_idle_rounds(self.source)
        self.patterns = Patterns()
        self._tools_tried: tuple[Sequence[Mapping[str, Any]], str | None] | None = None
        self._bos: str = tokenizer.bos_token or ""

    @cached_property
    def for_tools(self) -> ChatTemplate:
        """The template of conversations that may call functions, as transformers chooses it."""
        if "tool_use" not in self.named or self.source == self.named["tool_use"]:
            return self
        return ChatTemplate(self._tokenizer, self.named["tool_use"])

    @property
    def sources(self) -> str:
        """All that may be used, one after the other."""
        return self.source if self.for_tools is self else self.source + self.for_tools.source

    def texts(
        self, chats: Sequence[Messages], tools: Sequence[Any] = (), *, prompt: bool = False
    ) -> list[str | RowProblem]:
        """``chats``, canonical, as texts; ``prompt``: with an answer's beginning.

        ``tools`` are the functions that each may call. A RowProblem stands where the template
        refuses one.
        """
        if not self.source:
            return [no_default(self.named)] * len(chats)
        adapted = [[self.habits.applied(message) for message in chat] for chat in chats]
        if not any(tools):
            # A template is foreign code: it may raise anything.
            with suppress(Exception):
                return list(self._apply(adapted, prompt)) if chats else []
        # One by one, to know which.
        functions = tools or [None] * len(chats)
        return [
            self._text_or_problem(chat, of_chat, prompt)
            for chat, of_chat in zip(adapted, functions, strict=True)
        ]

    def wanted(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A canonical message as the template wants it."""
        return self.habits.applied(message)

    def without_ends(self, message: dict[str, Any]) -> dict[str, Any]:
        """``message`` without what the template writes itself: BOS, and what ends an answer."""
        content, bos = message["content"], self._bos
        if bos and content.startswith(bos):
            return self.without_ends({**message, "content": content[len(bos) :]})
        if message["role"] != "assistant" or not (end := self.frame.closing.strip()):
            return message
        said = content.rstrip()
        if not said.endswith(end):
            return message
        return {**message, "content": said.removesuffix(end)}

    def _text_or_problem(self, chat: Messages, tools: Any, prompt: bool) -> str | RowProblem:
        try:
            return self._apply([chat], prompt, tools)[0]
        except Exception as error:
            lacking = next(filter(None, map(lacking_in, tools or [])), None)
            if lacking is not None and self._takes(chat, prompt, list(map(completed, tools))):
                return undescribed(*lacking)
            return refused(error)

    def _takes(self, chat: Messages, prompt: bool, tools: Any) -> bool:
        try:
            return bool(self._apply([chat], prompt, tools))
        except Exception:
            return False

    def _apply(self, chats: Sequence[Messages], prompt: bool, tools: Any = None) -> list[str]:
        texts: list[str] = self._tokenizer.apply_chat_template(
            list(chats),
            tools=tools,
            chat_template=self._quick,
            tokenize=False,
            add_generation_prompt=prompt,
        )
        return texts

    def _probe(self, habits: Habits, *chat: dict[str, Any], prompt: bool = False) -> str:
        """The text of a conversation of known words; empty if the template refuses it."""
        adapted = [habits.applied(message) for message in chat]
        tools = _TOOLS if any("tool_calls" in message for message in chat) else None
        try:
            return self._apply([adapted], prompt, tools)[0]
        except Exception:
            return ""

    @cached_property
    def habits(self) -> Habits:
        """The first habits with which the template says what it is given."""
        parts = _ANSWER not in self._probe(Habits(), _ASKED, _ANSWERED)
        parts = parts and _ANSWER in self._probe(Habits(parts=True), _ASKED, _ANSWERED)
        told = {"role": "developer", "content": _REASON}
        known = _REASON in self._probe(Habits(parts, developer=True), told, _ASKED, _ANSWERED)
        developer = known and "developer" in self.source
        found = Habits(parts, developer=developer)
        ways = [
            Habits(parts, json_arguments, bare_calls, developer)
            for json_arguments in (False, True)
            for bare_calls in (False, True)
        ]
        return next((way for way in ways if self._says_call(way)), found)

    def _says_call(self, habits: Habits) -> bool:
        text = self._probe(habits, _ASKED, called(), _RETURNED, _ANSWERED)
        if not text:  # some refuse an answer after a result
            text = self._probe(habits, _ASKED, called())
        return _NAME in text and _VALUE in text

    def keeps_reasoning(self, apart: bool, calls: bool) -> bool:
        """Whether the last answer keeps its reasoning.

        ``apart``: as a field beside its content; ``calls``: the answer calls a function.
        """
        return self._keeps[apart, calls]

    @cached_property
    def _keeps(self) -> dict[tuple[bool, bool], bool]:
        apart = {"reasoning_content": _REASON}
        inside = {"content": f"<think>\n{_REASON}\n</think>\n\n{_ANSWER}"}
        return {
            (how is apart, calls): _REASON in self._probe(self.habits, _ASKED, {**answer, **how})
            for how in (apart, inside)
            for calls, answer in ((False, _ANSWERED), (True, called()))
        }

    def unsaid_function(self, tools: Sequence[Mapping[str, Any]]) -> str | None:
        """The name of one of ``tools`` that the template leaves out; None if it says all."""
        if self._tools_tried is None or self._tools_tried[0] != tools:
            self._tools_tried = tools, self._unsaid(tools)
        return self._tools_tried[1]

    def _unsaid(self, tools: Sequence[Mapping[str, Any]]) -> str | None:
        without = self._probe(self.habits, _ASKED)
        chat = [self.habits.applied(_ASKED)]
        try:
            declared = self._apply([chat], False, tools)[0]
        except Exception:
            return None
        names = [tool["function"]["name"] for tool in tools]
        return next((name for name in names if declared.count(name) <= without.count(name)), None)

    @cached_property
    def keeps_content_beside_call(self) -> bool:
        """Whether a call that comes last keeps the words beside it."""
        message = {**called(), "content": _ANSWER}
        return _ANSWER in self._probe(self.habits, _ASKED, message)

    @cached_property
    def frame(self) -> TurnFrame:
        """What the template puts around turns."""

        def probe(*chat: dict[str, Any], prompt: bool = False) -> str:
            return self._probe(self.habits, *chat, prompt=prompt)

        asked, opened = probe(_ASKED), probe(_ASKED, prompt=True)
        answered = probe(_ASKED, _ANSWERED)
        called_with, called_without = called(), called(arguments={})
        openings = {
            "user": opened.rpartition(_USER)[2],
            "assistant": probe(_ASKED, _ANSWERED, prompt=True).rpartition(_ANSWER)[2],
            "tool": probe(_ASKED, called_with, _RETURNED, prompt=True).rpartition(_RESULT)[2],
        }
        header = opened[len(asked) :] if opened.startswith(asked) else ""
        going_on = probe(_ASKED, _ANSWERED, _ASKED, _ANSWERED)
        reasoned = probe(_ASKED, {**_ANSWERED, "reasoning_content": _REASON})
        headers = {header}
        for text in (answered, reasoned, going_on):
            if text.startswith(asked):
                begin = re.split(f"{_ANSWER}|{_REASON}", text[len(asked) :])[0]
                headers.add(header[: common_prefix(header, begin)])
        inner = going_on.partition(_ANSWER)[2].partition(_USER)[0]
        rest = answered.rpartition(_ANSWER)[2]
        closing = closing_of(rest, inner, asked.partition(_USER)[0])
        begun = answered.partition(_USER)[2].partition(_ANSWER)[0]
        surplus = common_end(rest.removeprefix(closing), begun)
        calls = [
            self._call_closing(probe, message, last_word)
            for message, last_word in ((called_with, _VALUE), (called_without, _NAME))
        ]
        return TurnFrame(
            openings={kind: opening for kind, opening in openings.items() if opening},
            headers=tuple(sorted(filter(None, headers), key=len, reverse=True)),
            closing=closing,
            call_closing=common_end(*calls),
            surplus=surplus if surplus and rest == closing + surplus else "",
        )

    def _call_closing(self, probe: Any, call: dict[str, Any], last_word: str) -> str:
        # Functions are declared before the question; a result may repeat the name.
        end, going_on = (
            text.partition(_USER)[2].partition(last_word)[2]
            for text in (probe(_ASKED, call), probe(_ASKED, call, _RETURNED, _ANSWERED))
        )
        return closing_of(end, going_on.partition(_RESULT)[0] if going_on else end)


def named_templates(tokenizer: Any) -> dict[str, str]:
    """The chat templates of ``tokenizer`` by their names; a single one is called ``default``."""
    own = tokenizer.chat_template
    return dict(own) if isinstance(own, dict) else {"default": own or ""}


def called(arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A message with one call of the function that the probes know."""
    made = {"zkey": _VALUE} if arguments is None else arguments
    function = {"name": _NAME, "arguments": made}
    call = {"type": "function", "id": "callzzzz1", "function": function}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


_ASKED = {"role": "user", "content": _USER}
_ANSWERED = {"role": "assistant", "content": _ANSWER}
_RETURNED = {"role": "tool", "name": _NAME, "tool_call_id": "callzzzz1", "content": _RESULT}
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": _NAME,
            "description": "It does.",
            "parameters": {"type": "object", "properties": {"zkey": {"type": "string"}}},
        },
    }
]
