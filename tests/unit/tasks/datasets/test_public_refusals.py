"""What people of this job met in public and cannot be trained on: what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.learned import (
    ASKED,
    CALLS,
    IS_4,
    PIRATE,
    RESULT,
    THINKS,
    WARM,
    WEATHER,
    answer,
    chat,
    learned,
    part,
    user,
)

SAID: dict[str, tuple[Any, str, str, str]] = {
    "D04 (trl PR 6689)": (
        chat(PIRATE, ASKED, IS_4),
        *("mistral3", "sft", "the chat template leaves out the system prompt"),
    ),
    "D07 (trl#2919)": (chat(ASKED, answer(THINKS)), "r1", "sft", "leaves out the reasoning"),
    "D07 of Alpaca": (
        [{"instruction": "What is 2+2?", "output": THINKS}],
        *("r1", "sft", "leaves out the reasoning"),
    ),
    "D08": (
        [
            {
                "prompt": [ASKED],
                "chosen": [answer(THINKS)],
                "rejected": [answer(THINKS.replace("Two", "One"))],
            }
        ],
        *("r1", "dpo", "leaves out the reasoning"),
    ),
    "D12": (chat(ASKED, answer(part(""))), "gemma", "sft", "an assistant's message is empty"),
    "D13": (
        chat(ASKED, answer([{"type": "tool_use", "name": "w", "input": {}}]), ASKED, IS_4),
        *("gemma", "sft", "no text: 'tool_use'"),
    ),
    "D20": (
        chat(WEATHER, CALLS, RESULT, WARM),
        *("llama3", "sft", "cannot say a tool call (message 2)"),
    ),
    "D21 (LlamaFactory#2460)": (
        chat(ASKED, IS_4, ASKED, ASKED, IS_4),
        *("gemma", "sft", "refuses it: Conversation roles must alternate"),
    ),
    "D25": (
        chat(ASKED, answer("It is 4.", reasoning_content="Two.")),
        *("chatml", "sft", "leaves out the reasoning_content"),
    ),
    "D45 (trl#1116)": (
        [{"prompt": "2+2? ", "completion": "5", "label": False}],
        *("chatml", "sft", "one of labelled answers (KTO)"),
    ),
    "D45 of messages": (
        chat(ASKED, IS_4, label=True) + chat(ASKED, answer("5"), label=False),
        *("chatml", "sft", "one of labelled answers (KTO)"),
    ),
    "marked as wrong": (
        [{"question": "2+2?", "answer": "5", "is_correct": False}],
        *("chatml", "sft", "'is_correct' marks some of the answers as bad"),
    ),
    "D46 (MMLU)": (
        [{"question": "2+2?", "choices": ["3", "4"], "answer": 1}],
        *("chatml", "sft", "one of multiple choice"),
    ),
    "D47 of dpo": (
        "prompt,chosen,rejected\n2+2?,\"[{'role': 'user', 'content': 'x'}]\",\"[{'a': 1}]\"\n",
        *("chatml", "dpo", "'chosen' holds a Python list or dict as text"),
    ),
    "D47": (
        "prompt,completion\n\"[{'content': '2+2?', 'role': 'user'}]\",4\n",
        *("chatml", "sft", "'prompt' holds a Python list or dict as text"),
    ),
    "D48": (chat(ASKED, IS_4, text="id-17"), "chatml", "sft", "can be read in more than one way"),
    "D50 (LLaVA)": (
        chat(user("<image>\nWhat is it?"), answer("A cat."), image="coco/1.jpg"),
        *("chatml", "sft", "has the column 'image'"),
    ),
    "D50 without a column": (
        chat(user("<image>\nWhat is it?"), answer("A cat.")),
        *("chatml", "sft", "holds <image>"),
    ),
    "D50 of parts": (
        chat(user([{"type": "image_url", "image_url": {"url": "x"}}]), answer("A cat.")),
        *("llama3", "sft", "no text: 'image_url'"),
    ),
    "parts of an answer (axolotl)": (
        chat(ASKED, answer("4", train_detail=[{"begin_offset": 0, "end_offset": 0}])),
        *("chatml", "sft", "says which of its parts are trained on"),
    ),
    "a weight between": (
        chat(ASKED, answer("4", weight=0.5)),
        *("chatml", "sft", "has the weight '0.5'"),
    ),
    "nothing to train on": (
        chat(ASKED, answer("4", weight=0)),
        *("chatml", "sft", "none of the assistant's messages"),
    ),
    "tools for rlhf": (
        chat(ASKED, IS_4, tools=[{"name": "w"}]),
        *("chatml", "rlhf", "the conversation has tools"),
    ),
    "users in an answer": (
        [
            {
                "chosen": [ASKED, answer("4"), user("a"), answer("b")],
                "rejected": [ASKED, answer("5"), user("a"), answer("b")],
            }
        ],
        *("chatml", "dpo", "an answer holds messages of others"),
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_said(tmp_path: Path, case: str) -> None:
    rows, family, method, said = SAID[case]
    # A default that every client sends says nothing of the columns.
    report = learned(tmp_path, rows, family, method, text_field="text")
    assert said in (report.error or ""), report.error
    assert report.hint


OF_ALL_ROWS = ("KTO", "marks some", "multiple choice", "more than one way", "the column")
BAD_ROWS = [
    case
    for case, (rows, *_, said) in SAID.items()
    if not isinstance(rows, str) and not any(words in said for words in OF_ALL_ROWS)
]


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_can_be_got_past(tmp_path: Path, case: str) -> None:
    [bad], family, method, _ = SAID[case]
    good = {**bad, "output": "It is 4.", "messages": [ASKED, IS_4], "tools": None}
    good |= {"prompt": [ASKED], "chosen": [ASKED, IS_4], "rejected": [ASKED, answer("5")]}
    rows = [bad, {name: good[name] for name in bad}]
    report = learned(tmp_path, rows, family, method, skip_bad_rows=True)
    assert report.error is None, report.error
    assert report.problem_count == 1
    assert report.example is not None
    assert report.example.row == 2
