"""Rows with a label: what they mean, and that their answers alone are learnt, good or bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tasks.datasets.shapes.preference import format_labelled, recognise_labelled
from tasks.datasets.shapes.problems import RowProblem
from tasks.errors import DatasetError
from tests.support.models import make_chatml_model
from tests.support.prepared_data import checked
from tests.support.training import write_jsonl
from trainyard.contract.config import DataConfig

CHAT = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]


def formatted(row: dict[str, Any], **data: Any) -> dict[str, Any]:
    shape = recognise_labelled(list(row), DataConfig(**data), "kto")
    found = format_labelled(row, shape)
    return {name: text if name == "label" else json.loads(text) for name, text in found.items()}


@pytest.mark.parametrize("label", [True, 1, 1.0, "true", " True", "1"])
def test_a_label_is_read_in_its_spellings(label: Any) -> None:
    row = {"prompt": "a", "completion": "b", "label": label}
    assert formatted(row) == {"prompt": "a", "completion": "b", "label": "true"}


@pytest.mark.parametrize(
    ("row", "data"),
    [
        ({"question": "a?", "answer": "b", "kto_tag": False}, {}),
        ({"messages": CHAT, "label": 0}, {}),
        ({"prompt": CHAT[:1], "completion": CHAT[1:], "label": "0"}, {}),
        (
            {"q": "a?", "a": "b", "fine": "false"},
            {"columns": {"question": "q", "answer": "a", "label": "fine"}},
        ),
    ],
)
def test_a_conversation_is_parted_before_its_last_answer(
    row: dict[str, Any], data: dict[str, Any]
) -> None:
    assert formatted(row, **data) == {
        "prompt": CHAT[:1],
        "completion": CHAT[1:],
        "label": "false",
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "completion": "b", "label": "perhaps"}, "neither that the answer is good"),
        ({"prompt": "a", "completion": "b", "label": None}, "'label' is missing"),
        ({"messages": [*CHAT, CHAT[0]], "label": True}, "does not end with an answer"),
        ({"messages": CHAT[1:], "label": True}, "there is no prompt"),
        ({"messages": [*CHAT, CHAT[0], {**CHAT[1], "weight": 0}], "label": True}, "to learn from"),
    ],
)
def test_a_row_that_teaches_nothing_is_named(row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowProblem, match=said):
        formatted(row)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["prompt", "completion"], "says which answers are good"),
        (["text", "label"], "No answer in the data set"),
        (["chosen", "rejected"], "says which answers are good"),
    ],
)
def test_columns_without_a_label_or_an_answer_are_refused(columns: list[str], said: str) -> None:
    with pytest.raises(DatasetError, match=said) as refused:
        recognise_labelled(columns, DataConfig(), "kto")
    assert "kto needs a prompt with an answer" in refused.value.mend


def test_the_check_shows_the_answer_alone_as_learnt_and_counts_the_labels(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = make_chatml_model(tmp_path / "chatml", tiny_model)
    rows = [{"question": f"{n}?", "answer": f"It is {n}.", "label": n % 3 == 0} for n in range(9)]
    path = write_jsonl(tmp_path / "rows.jsonl", [{**row} for row in rows])
    found = checked(path, tmp_path / "cache", model=str(model), training={"method": "kto"})
    assert found.error is None
    assert found.example is not None
    assert found.example.marked() == [
        "<|im_start|>user\n0?<|im_end|>\n<|im_start|>assistant\n⟦It is 0.<|im_end|>\n⟧"
    ]
    assert found.labels == (3, 6)
    assert "Labels     3 rows are good, 6 bad" in list(found.lines())
    tokenizer = AutoTokenizer.from_pretrained(model)
    answers = [tokenizer(f"It is {n}.<|im_end|>\n")["input_ids"] for n in range(9)]
    assert found.trained_tokens == sum(map(len, answers))


def test_labels_of_one_kind_are_warned_of(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": f"b{n}", "label": True} for n in range(4)]
    path = write_jsonl(tmp_path / "rows.jsonl", [{**row} for row in rows])
    found = checked(path, tmp_path / "cache", model=str(tiny_model), training={"method": "kto"})
    assert "every row is good: nothing says what is bad" in found.warnings
