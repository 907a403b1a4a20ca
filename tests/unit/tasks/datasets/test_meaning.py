"""Columns, flags and spellings that mean something: used, refused, or said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.learned import (
    ASKED,
    IS_4,
    RESULT,
    WARM,
    WEATHER,
    answer,
    chat,
    learned,
    user,
)

SORTED_LAST = 1100
"""Rows before the one that counts: more than any sample that is looked at first."""


def rows(column: str, *values: Any) -> list[dict[str, Any]]:
    return [
        {"question": f"{n}+1?", "answer": str(n + 1), column: value}
        for n, value in enumerate(values)
    ]


REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "labels as numbers of a table": (rows("label", 1.0, 0.0), "labelled answers (KTO)"),
    "labels of -1": (rows("label", 1, -1), "labelled answers (KTO)"),
    "labels in words": (rows("label", "desirable", "undesirable"), "labelled answers (KTO)"),
    "a label at the end": (rows("label", *[True] * SORTED_LAST, False), "labelled answers (KTO)"),
    "yes and no": (rows("is_correct", "yes", "no"), "marks some of the answers as bad"),
    "rejected ones": (rows("rejected", False, True), "marks some of the answers as bad"),
    "a reward of 0": (rows("reward", 1.0, 0.0), "marks some of the answers as bad"),
    "a verdict in words": (rows("status", "approved", "rejected"), "marks some of the answers"),
    "splits": (rows("split", "train", "test"), "which rows train and which are held out"),
    "splits by another name": (rows("fold", "train", "dev"), "which rows train"),
    "a flag of splits": (rows("is_test", False, True), "which rows train"),
    "a row's weight": (rows("weight", 1, 0), "gives rows a weight"),
    "a row's weight between": (rows("sample_weight", 0.5, 0.5), "gives rows a weight"),
    "a row's flag": (rows("train", True, False), "gives rows a weight"),
    "masks of messages": (rows("loss_mask", [0, 1], [0, 0]), "gives rows a weight"),
    "an image's address": (rows("image_url", "http://x/1.png", None), "not of text alone"),
    "choices in columns": (
        [{"question": "2+2?", "A": "3", "B": "4", "answer": "B"}],
        "one of multiple choice",
    ),
    "several choices": (
        [{"question": "2+2?", "options": ["3", "4"], "answer": "(A, B)"}],
        "one of multiple choice",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_what_a_column_says(tmp_path: Path, case: str) -> None:
    given, said = REFUSED[case]
    report = learned(tmp_path, given)
    assert said in (report.error or ""), report.error
    told = learned(tmp_path, given, columns={"question": "question", "answer": "answer"})
    assert told.error is None, told.error


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("label", ("cats", "dogs")),
        ("weight", (70, 0.5)),
        ("loss", (0.83, 0.12)),
        ("split", ("test", "test")),
        ("score", (5, 1)),
        ("correct", (0, 2)),
        ("mask", ("User", "User")),
    ],
)
def test_a_column_of_something_else_is_let_be(
    tmp_path: Path, column: str, values: tuple[Any, ...]
) -> None:
    report = learned(tmp_path, rows(column, *values))
    assert report.error is None, report.error
    assert report.used.columns == [column]


def test_columns_that_may_be_missed_are_a_warning(tmp_path: Path) -> None:
    report = learned(tmp_path, [{**row, "rationale": "R."} for row in rows("passage", "P.")])
    assert report.exit_code == 1
    assert [warning.partition(" may")[0] for warning in report.warnings] == [
        "'passage'",
        "'rationale'",
    ]


def test_messages_in_rows_of_their_own_are_no_texts(tmp_path: Path) -> None:
    """As OASST has them: each text would be learnt, whoever says it."""
    said = [{"role": "prompter", "text": "1+1?"}, {"role": "assistant", "text": "2"}]
    tree = [{**row, "parent_id": None, "message_id": "a"} for row in said]
    report = learned(tmp_path, tree)
    assert "each row is one message of a conversation" in (report.error or "")
    told = learned(tmp_path, tree, columns={"text": "text"})
    assert told.error is None, told.error
    book = learned(tmp_path, [{"author": "Austen", "text": "It is a truth."}])
    assert (book.error, book.warnings) == (None, [])


def test_a_label_beside_a_text_is_not_learnt(tmp_path: Path) -> None:
    report = learned(tmp_path, [{"text": "A fine film.", "label": 1}, {"text": "No.", "label": 0}])
    assert (report.error, report.exit_code) == (None, 1)
    assert report.warnings[0].startswith("'label' may be the answer that a text is to get")


FUNCTION = {"name": "get_weather", "description": "-"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CALLED = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


@pytest.mark.parametrize(
    "call",
    [
        {"tool_calls": [{"name": "get_weather", "input": {"city": "Paris"}}]},
        {"tool_calls": [{"name": "get_weather", "args": {"city": "Paris"}}]},
        {"tool_call": {"name": "get_weather", "arguments": {"city": "Paris"}}},
        {"function_calls": [{"name": "get_weather", "arguments": '{"city": "Paris"}'}]},
    ],
)
def test_calls_of_every_spelling_keep_their_arguments(tmp_path: Path, call: Any) -> None:
    report = learned(tmp_path, chat(WEATHER, answer("", **call), RESULT, WARM))
    assert report.error is None, report.error
    assert report.example is not None
    assert f"⟦<tool_call>\n{CALLED}\n</tool_call><|im_end|>\n⟧" in report.example.marked()[0]


@pytest.mark.parametrize(
    "tools",
    [
        [{**FUNCTION, "input_schema": SCHEMA}],
        [json.dumps({**FUNCTION, "parameters": SCHEMA})],
    ],
)
def test_functions_of_every_spelling_keep_their_schema(tmp_path: Path, tools: Any) -> None:
    report = learned(tmp_path, chat(WEATHER, WARM, tools=tools))
    assert report.example is not None, report.error
    assert json.dumps({**FUNCTION, "parameters": SCHEMA}) in report.example.marked()[0]


BAD_MESSAGES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "an answer that nobody sees": (chat(ASKED, answer("\u200b\ufeff")), "message is empty"),
    "reasoning alone": (
        chat(ASKED, answer("<think>\nTwo and two.\n</think>\n\n")),
        "empty but for its reasoning",
    ),
    "two roles": (
        chat({"from": "human", "role": "assistant", "value": "2+2?"}, IS_4),
        "is of two roles",
    ),
    "calls told twice": (
        chat(
            WEATHER,
            answer("", tool_calls=[{"name": "a"}], function_call={"name": "b"}),
        ),
        "names its calls twice",
    ),
    "arguments told twice": (
        chat(WEATHER, answer("", tool_calls=[{"name": "a", "input": {}, "args": {"b": 1}}])),
        "has both input and args",
    ),
    "tools in a message": (chat({**ASKED, "tools": [FUNCTION]}, IS_4), "holds tools"),
    "an image's token": (chat(user("<|vision_start|><|image_pad|> What?"), IS_4), "is no text"),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_bad_messages(tmp_path: Path, case: str) -> None:
    given, said = BAD_MESSAGES[case]
    report = learned(tmp_path, given)
    assert said in (report.error or ""), report.error


@pytest.mark.parametrize("flag", [{"no_loss": True}, {"is_masked": 1}, {"do_train": False}])
def test_flags_of_every_spelling(tmp_path: Path, flag: dict[str, Any]) -> None:
    report = learned(tmp_path, chat(ASKED, answer("It is 5.", **flag), ASKED, IS_4))
    assert report.example is not None
    assert report.example.marked()[0].count("⟦") == 1
    assert report.used.message_keys == []


def test_an_answer_of_a_pair_that_is_not_to_be_trained_on(tmp_path: Path) -> None:
    pair = {"prompt": [ASKED], "chosen": [{**IS_4, "weight": 0}], "rejected": [answer("5")]}
    report = learned(tmp_path, [pair], method="dpo")
    assert "not to be trained on (weight 0)" in (report.error or "")


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_an_instruction_beside_a_question_opens_the_conversation(
    tmp_path: Path, method: str
) -> None:
    row = {"instruction": "Be brief.", "question": "2+2?", "answer": "4"}
    row |= {"chosen": "4", "rejected": "It is 4."} if method == "dpo" else {}
    report = learned(tmp_path, [row], method=method)
    assert report.example is not None, report.error
    assert report.example.marked()[0].startswith("<|im_start|>system\nBe brief.<|im_end|>\n")


@pytest.mark.parametrize(
    "row",
    [
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "2+2?"}]},
                {"role": "model", "parts": [{"text": "4"}]},
            ],
        },
        {
            "system": [{"text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [{"text": "2+2?"}]},
                {"role": "assistant", "content": [{"text": "4"}]},
            ],
        },
        {
            "system": "Be brief.",
            "messages": {"role": ["user", "assistant"], "content": ["2+2?", "4"]},
        },
    ],
    ids=["Gemini", "Bedrock", "a list for each key"],
)
def test_conversations_of_other_services(tmp_path: Path, row: dict[str, Any]) -> None:
    report = learned(tmp_path, [row])
    assert report.example is not None, report.error
    assert report.example.marked() == [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n"
        "<|im_start|>assistant\n⟦4<|im_end|>\n⟧"
    ]


def test_prompts_end_with_a_question(tmp_path: Path) -> None:
    report = learned(tmp_path, [{"prompt": [ASKED, IS_4]}], method="rlhf")
    assert "the prompt ends with a message of the assistant" in (report.error or "")
    report = learned(tmp_path, chat(ASKED, IS_4, user("And 3+3?")), method="rlhf")
    assert report.example is not None, report.error
    assert report.example.marked()[0].endswith(
        "It is 4.<|im_end|>\n<|im_start|>user\nAnd 3+3?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("name", ["answer", "solution", "ground_truth"])
def test_a_reward_that_compares_needs_answers(tmp_path: Path, name: str) -> None:
    compares = {"rlhf": {"reward_functions": ["answer"]}}
    prompts = [{"prompt": "2+2?", name: "4"}, {"prompt": "3+3?", name: "6"}]
    report = learned(tmp_path, prompts, method="rlhf", training=compares)
    assert report.error is None, report.error
    report = learned(tmp_path, [{"prompt": "2+2?"}], method="rlhf", training=compares)
    assert "no answer, with which the reward function" in (report.error or "")
