"""One row as the model will see it, from its tokens; or, without a tokenizer, from its texts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.datasets.report import Example, Segments
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.split import Indices
from tasks.datasets.tokens.render import Rendering, render
from tasks.datasets.tokens.spans import IGNORED_LABEL
from tasks.datasets.tokens.template import ChatTemplate
from tasks.datasets.tokens.tokenise import Tokenised

_ROWS_LOOKED_AT = 50
"""Until one is found that is trained on."""


def example_of(data: Tokenised, tokenizer: Any) -> Example | None:
    """The first row that is trained on, decoded from its tokens."""
    if len(data.dataset) == 0:
        return None
    row = data.dataset[0]
    if "input_ids" in row:
        trained = [label != IGNORED_LABEL for label in row["labels"]]
        return Example(data.first_row, _segments(tokenizer, row["input_ids"], trained))
    if "prompt_ids" in row:
        prompt = row["prompt_ids"]
        answers = [row[name] for name in row if name.endswith("_ids") and name != "prompt_ids"]
        sequences = (
            _segments(tokenizer, prompt + answer, [False] * len(prompt) + [True] * len(answer))
            for answer in answers
        )
        return Example(data.first_row, *sequences)
    prompt = row["prompt"]
    if not isinstance(prompt, str):
        prompt = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return Example(data.first_row, ((prompt, False),))


def _segments(tokenizer: Any, ids: Sequence[int], trained: Sequence[bool]) -> Segments:
    """Decoded from the start each time: a token's text can depend on those before it."""
    segments: list[tuple[str, bool]] = []
    done = 0
    shown = ""
    for on, run in itertools.groupby(trained):
        done += len(list(run))
        text = tokenizer.decode(
            ids[:done], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        segments.append((text[len(shown) :], on))
        shown = text
    return tuple(segments)


@dataclass(frozen=True)
class Conversation:
    """A conversation that is trained on, and its text by the tokenizer's own chat template."""

    messages: list[dict[str, Any]]
    tools: Any
    text: str


def conversation_of(
    rows: Any, indices: Indices, data: Tokenised, how: Rendering
) -> Conversation | None:
    """The first row that is trained on, of the stored ``rows``; None if it is no conversation."""
    looked_at = (rows[int(index)] for index in indices[:_ROWS_LOOKED_AT])
    row = next((row for row in looked_at if row["row"] == data.first_row), None)
    if row is None or not row.get("messages"):
        return None
    [trained] = render([row], how)
    if isinstance(trained, RowProblem) or trained.beyond:
        return None
    own = ChatTemplate(how.tokenizer)
    messages = json.loads(row["messages"])
    tools = json.loads(row["tools"]) if row["tools"] else None
    # A variant for training keeps what the tokenizer's own template leaves out.
    text = trained.text if how.template is None else own.texts([messages], [tools])[0]
    return Conversation([own.wanted(message) for message in messages], tools, str(text))


def untokenised_example(row: Mapping[str, Any]) -> Example:
    """A stored row with what of it is trained on; no chat template is known."""
    if row.get("text") is not None:
        return Example(row["row"], ((row["text"], True),))
    if row.get("messages") is not None:
        return Example(row["row"], tuple(_turns(json.loads(row["messages"]))))
    if "chosen" not in row:
        prompt, answer = (_plain(row[name]) for name in ("prompt", "completion"))
        return Example(row["row"], ((prompt, False), (answer, True)))
    prompt, chosen, rejected = (_plain(row[name]) for name in ("prompt", "chosen", "rejected"))
    return Example(
        row["row"], ((prompt, False), (chosen, True)), ((prompt, False), (rejected, True))
    )


def _plain(text: str) -> str:
    """A text, or one that stands in JSON, or messages that do."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return "".join(text for text, _ in _turns(value)) if isinstance(value, list) else str(value)


def _turns(messages: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, bool]]:
    for message in messages:
        calls = message.get("tool_calls")
        said = message.get("reasoning_content", "") + message["content"]
        said += json.dumps(calls, ensure_ascii=False) if calls else ""
        yield f"{message['role']}: ", False
        yield said, message["role"] == "assistant" and message.get("train", True)
        yield "\n", False
