"""Preference rows: what they may look like, and what they are tokenised to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy
import pytest

from tasks.datasets.parts import open_parts
from tasks.datasets.row_kinds import rows_of, shape_of
from tasks.datasets.shapes.preference import format_preference, recognise_preference
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.shapes.shape import Shape
from tasks.datasets.tokens import encode
from tasks.datasets.tokens.render import Rendering
from tasks.datasets.tokens.tokenise import ChosenRows, Tokenised
from tasks.datasets.tokens.tokenise_preference import tokenise_preferences
from tasks.errors import DatasetError
from tests.support.data_files import write_table
from trainyard.contract.config import DataConfig


def shape_for(row: dict[str, Any]) -> Shape:
    return recognise_preference(list(row), DataConfig(), "dpo")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


ASKED = [user("Is 3 odd?")]
SAME = {"prompt": ASKED, "chosen": [answer("Yes.")], "rejected": [answer("No.")]}
WHOLE = {"chosen": [*ASKED, answer("Yes.")], "rejected": [*ASKED, answer("No.")]}
TEXTS = {"prompt": "Is 3 odd? ", "chosen": "Yes.", "rejected": "No."}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (TEXTS, TEXTS),
        ({"Prompt": TEXTS["prompt"], "Chosen": "Yes.", "Rejected": "No."}, TEXTS),
        ({"Question": "Is 3 odd?", "Chosen": "Yes.", "Rejected": "No."}, SAME),
        (SAME, SAME),
        ({**SAME, "prompt": "Is 3 odd?"}, SAME),
        ({"messages": ASKED, "chosen": "Yes.", "rejected": "No."}, SAME),
        (
            {
                "input": {"messages": ASKED, "tools": [], "parallel_tool_calls": True},
                "preferred_output": [answer("Yes.")],
                "non_preferred_output": [answer("No.")],
            },
            SAME,
        ),
        (WHOLE, SAME),
        ({"messages": WHOLE["chosen"], **WHOLE}, SAME),
        ({"prompt": "?", **WHOLE}, SAME),
    ],
)
def test_every_shape_of_a_pair(row: dict[str, Any], expected: dict[str, Any]) -> None:
    formatted = format_preference(row, shape_for(row))
    assert {name: json.loads(value) for name, value in formatted.items()} == expected


@pytest.mark.parametrize("text", ['{"value": 3}', '{"from": "Rome", "value": 3}', '{"role": "ai"'])
def test_an_answer_that_is_json_stays_text(text: str) -> None:
    row = {**TEXTS, "chosen": text}
    assert json.loads(format_preference(row, shape_for(row))["chosen"]) == text


def test_columns_can_be_told() -> None:
    told = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    shape = recognise_preference(["q", "good", "bad"], DataConfig(columns=told), "dpo")
    assert dict(shape.columns) == told
    with pytest.raises(DatasetError, match="'worse'"):
        recognise_preference(["q", "good"], DataConfig(columns={"rejected": "worse"}), "dpo")


def test_columns_that_make_no_pair_are_named() -> None:
    with pytest.raises(DatasetError, match="'question', 'answer'") as caught:
        recognise_preference(["question", "answer"], DataConfig(), "dpo")
    assert "chosen and rejected" in caught.value.mend


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**TEXTS, "rejected": "Yes."}, "the same"),
        ({**TEXTS, "chosen": None}, "'chosen' is missing"),
        ({"chosen": "a", "rejected": "b"}, "no prompt"),
        ({"chosen": [answer("a")], "rejected": [answer("b")]}, "no prompt"),
        ({"chosen": [user("x"), answer("a")], "rejected": [user("y"), answer("b")]}, "begin"),
        ({"chosen": [user("x"), answer("a")], "rejected": [user("x")]}, "no answer of its own"),
        ({"messages": WHOLE["chosen"], "chosen": "Yes.", "rejected": "No."}, "ends with an answer"),
        ({**WHOLE, "prompt": "Is it raining?"}, "'prompt' is another than what the two"),
        ({**SAME, "prompt": {"messages": ASKED, "tools": [{"type": "function"}]}}, "holds tools"),
    ],
)
def test_a_row_that_is_no_pair_says_why(row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowProblem, match=said):
        format_preference(row, shape_for(row))


def tokenised(row: dict[str, Any], tokenizer: Any, cache: Path, **more: Any) -> Tokenised:
    stored = {
        "row": 1,
        **format_preference(row, shape_for(row)),
    }
    rows, one = datasets.Dataset.from_list([stored]), numpy.arange(1, dtype=numpy.int64)
    chosen = ChosenRows(rows, one, more.get("max_length", 128), cache, json.dumps(row))
    return tokenise_preferences(chosen, Rendering(tokenizer), more.get("max_prompt_length"))


def test_texts_end_with_the_end_token_and_part_after_the_prompt(
    tokenizer: Any, tmp_path: Path
) -> None:
    found = tokenised(TEXTS, tokenizer, tmp_path)
    row = found.dataset[0]
    eos = tokenizer.eos_token_id
    assert tokenizer.decode(row["prompt_ids"] + row["chosen_ids"][:-1]) == "Is 3 odd? Yes."
    assert tokenizer.decode(row["prompt_ids"] + row["rejected_ids"][:-1]) == "Is 3 odd? No."
    assert (row["chosen_ids"][-1], row["rejected_ids"][-1]) == (eos, eos)
    lengths = {name: len(ids) for name, ids in row.items()}
    assert found.trained_tokens == lengths["chosen_ids"] + lengths["rejected_ids"]
    assert found.tokens == found.trained_tokens + 2 * lengths["prompt_ids"]
    assert (found.cut, found.dropped) == (0, 0)


def test_conversations_go_through_the_chat_template(tokenizer: Any, tmp_path: Path) -> None:
    row = tokenised(SAME, tokenizer, tmp_path).dataset[0]
    prompt = tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*ASKED, answer("Yes.")], tokenize=False)
    assert tokenizer.decode(row["prompt_ids"]) == prompt
    assert tokenizer.decode(row["prompt_ids"] + row["chosen_ids"]) == whole


def test_long_rows_are_cut_and_counted(tokenizer: Any, tmp_path: Path) -> None:
    whole = tokenised(TEXTS, tokenizer, tmp_path).dataset[0]
    short = tokenised(TEXTS, tokenizer, tmp_path, max_prompt_length=3, max_length=5)
    row = short.dataset[0]
    assert row["prompt_ids"] == whole["prompt_ids"][-3:]
    assert row["chosen_ids"] == whole["chosen_ids"][:2]
    assert short.cut == 1
    nothing = tokenised(TEXTS, tokenizer, tmp_path, max_length=len(whole["prompt_ids"]))
    assert (len(nothing.dataset), nothing.dropped) == (0, 1)


@pytest.mark.parametrize("long", ["prompt", "chosen", "rejected"])
def test_what_lies_far_beyond_max_length_is_only_counted(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: str
) -> None:
    row = {**TEXTS, long: "The quick brown fox.\n" * 800}
    cut = tokenised(row, tokenizer, tmp_path / "cut", max_length=16)
    with monkeypatch.context() as patched:
        patched.setattr(encode, "_LONG", len(row[long]))
        whole = tokenised(row, tokenizer, tmp_path / "whole", max_length=16)
    assert list(cut.dataset) == list(whole.dataset)
    assert (cut.lengths, cut.cut, cut.dropped) == (whole.lengths, whole.cut, whole.dropped)
    assert sum(cut.lengths) > 800

    def refused(*_: Any) -> Any:
        raise AssertionError("its beginning was asked for")

    monkeypatch.setattr(encode, "_beginning", refused)
    with pytest.raises(AssertionError, match="its beginning"):
        tokenised(row, tokenizer, tmp_path / "seen", max_length=16)


def turn(role: str, text: str) -> dict[str, str]:
    return {"from": role, "value": text}


TURNS = [
    [turn("human", "Is 3 odd?")],
    [turn("system", "Be brief."), turn("human", "Is 4?"), turn("gpt", "No."), turn("human", "5?")],
]
ANSWERS = [("Yes.", "No."), ("It is: 你好", "It is\nnot")]
AS_SHAREGPT: dict[str, Callable[[list[Any], str, str], dict[str, Any]]] = {
    "conversations, then a turn each": lambda turns, better, worse: {
        "conversations": turns,
        "chosen": turn("gpt", better),
        "rejected": turn("gpt", worse),
    },
    "conversations, then turns": lambda turns, better, worse: {
        "conversations": turns,
        "chosen": [turn("gpt", better)],
        "rejected": [turn("gpt", worse)],
    },
    "conversations, then texts": lambda turns, better, worse: {
        "conversations": turns,
        "chosen": better,
        "rejected": worse,
    },
    "whole conversations": lambda turns, better, worse: {
        "chosen": [*turns, turn("gpt", better)],
        "rejected": [*turns, turn("gpt", worse)],
    },
    "conversations beside the whole": lambda turns, better, worse: {
        "conversations": turns,
        "chosen": [*turns, turn("gpt", better)],
        "rejected": [*turns, turn("gpt", worse)],
    },
}


def as_messages(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    return [{"role": roles[each["from"]], "content": each["value"]} for each in turns]


@pytest.mark.parametrize("method", ["dpo", "orpo"])
@pytest.mark.parametrize("how", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("shape", AS_SHAREGPT)
def test_sharegpt_pairs_give_the_same_tokens_as_messages(
    tokenizer: Any, tmp_path: Path, shape: str, how: str, method: str
) -> None:
    def tokens(name: str, rows: list[dict[str, Any]], how: str) -> list[dict[str, Any]]:
        [part] = open_parts(write_table(tmp_path / f"{name}.{how}", rows), tmp_path / "cache")
        found = rows_of(part, shape_of(part, DataConfig(), method), tmp_path / "cache", method)
        assert found.bad == 0, found.problems
        every = numpy.arange(len(rows))
        chosen = ChosenRows(found.dataset, every, 200, tmp_path / "cache", found.key)
        return list(tokenise_preferences(chosen, Rendering(tokenizer), None).dataset)

    pairs = [(turns, *answers) for turns, answers in zip(TURNS, ANSWERS, strict=True)]
    messages = [
        {"prompt": as_messages(turns), "chosen": [answer(better)], "rejected": [answer(worse)]}
        for turns, better, worse in pairs
    ]
    wanted = tokens("wanted", messages, "jsonl")
    assert len(wanted) == len(pairs)
    assert tokens("other", [AS_SHAREGPT[shape](*pair) for pair in pairs], how) == wanted
