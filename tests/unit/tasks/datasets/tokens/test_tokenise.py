"""Which tokens are trained on, and what becomes of rows that are too long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy
import pytest

from tasks.datasets.row_kinds import ROW_KINDS
from tasks.datasets.tokens import encode
from tasks.datasets.tokens import tokenise as tokenise_module
from tasks.datasets.tokens.render import Rendering
from tasks.datasets.tokens.spans import IGNORED_LABEL
from tasks.datasets.tokens.tokenise import ChosenRows, Tokenised, tokenise
from tasks.models.chat_template import SIMPLE_CHAT_TEMPLATE


def run(
    tokenizer: Any, cache: Path, *rows: dict[str, Any], max_length: int = 200, add_eos: bool = True
) -> Tokenised:
    columns = dict.fromkeys(ROW_KINDS["answers"].columns)
    stored = datasets.Dataset.from_list(
        [{**columns, "row": number, **row} for number, row in enumerate(rows, start=1)]
    )
    chosen = ChosenRows(stored, numpy.arange(len(rows)), max_length, cache, json.dumps(rows))
    return tokenise(chosen, Rendering(tokenizer, add_eos))


def trained_text(tokenizer: Any, found: Tokenised, row: int = 0) -> str:
    labels = found.dataset[row]["labels"]
    return str(tokenizer.decode([label for label in labels if label != IGNORED_LABEL]))


def messages(*turns: str) -> dict[str, str]:
    roles = ["user", "assistant"] * len(turns)
    made = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]
    return {"messages": json.dumps(made)}


def test_only_the_completion_and_its_end_are_trained_on(tokenizer: Any, tmp_path: Path) -> None:
    found = run(tokenizer, tmp_path, {"prompt": "What is 1 plus 2?", "completion": " 3."})
    assert trained_text(tokenizer, found) == " 3.<eos>"
    assert tokenizer.decode(found.dataset[0]["input_ids"]) == "What is 1 plus 2? 3.<eos>"
    assert found.trained_tokens < found.tokens == len(found.dataset[0]["input_ids"])


def test_all_of_a_text_is_trained_on(tokenizer: Any, tmp_path: Path) -> None:
    found = run(tokenizer, tmp_path, {"text": "The quick fox"})
    assert trained_text(tokenizer, found) == "The quick fox<eos>"
    without = run(tokenizer, tmp_path, {"text": "The quick fox"}, add_eos=False)
    assert trained_text(tokenizer, without) == "The quick fox"


@pytest.mark.parametrize("blanks", ["", "\n", " \n"])
def test_text_that_has_its_end_token_gets_no_second_one(
    tokenizer: Any, tmp_path: Path, blanks: str
) -> None:
    text = run(tokenizer, tmp_path, {"text": f"The quick fox<eos>{blanks}"})
    assert trained_text(tokenizer, text) == f"The quick fox<eos>{blanks}"
    chat = run(tokenizer, tmp_path, messages("one", f"two<eos>{blanks}", "<bos>three", "four"))
    assert trained_text(tokenizer, chat) == "two<eos>\n\nfour<eos>\n\n"
    empty = run(tokenizer, tmp_path, messages("one", f"<eos>{blanks}"))
    assert [problem.sentence for _, problem in empty.problems] == [
        "an assistant's message is empty but for the token that ends it"
    ]


def test_every_turn_of_the_assistant_is_trained_on(tokenizer: Any, tmp_path: Path) -> None:
    found = run(tokenizer, tmp_path, messages("one", "two", "three", "four"))
    assert trained_text(tokenizer, found) == "two<eos>\n\nfour<eos>\n\n"


def test_a_template_that_leaves_out_earlier_answers_is_no_template_to_train_with(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewriting = SIMPLE_CHAT_TEMPLATE.replace(
        "'### Response:\n' + message['content']",
        "'### Response:\n' + (message['content'] if loop.last else 'past')",
    )
    assert rewriting != SIMPLE_CHAT_TEMPLATE
    monkeypatch.setattr(tokenizer, "chat_template", rewriting)
    found = run(tokenizer, tmp_path, messages("one", "two", "three", "four"))
    assert (len(found.dataset), found.refused) == (0, 1)
    assert found.problems[0][1].sentence == "the chat template leaves out the assistant's message 2"


def test_rows_without_a_trained_token_left_are_dropped_and_counted(
    tokenizer: Any, tmp_path: Path
) -> None:
    long, short = {"prompt": "x" * 300, "completion": "y"}, {"prompt": "a", "completion": "b" * 60}
    found = run(tokenizer, tmp_path, long, short, max_length=40)
    assert (len(found.dataset), found.dropped, found.cut) == (1, 1, 1)
    assert len(found.dataset[0]["input_ids"]) == 40
    nothing = run(tokenizer, tmp_path, long, max_length=40)
    assert (len(nothing.dataset), nothing.dropped) == (0, 1)
    assert sum(nothing.lengths.values()) == 1


def test_the_cache_is_used_and_told_apart_by_what_changes_the_tokens(
    tokenizer: Any, tmp_path: Path
) -> None:
    row = {"text": "The quick fox"}

    def files() -> int:
        return len(list(tmp_path.rglob("*.arrow")))

    first = run(tokenizer, tmp_path, row)
    assert first.dataset[0] == run(tokenizer, tmp_path, row).dataset[0]
    assert files() == 1
    run(tokenizer, tmp_path, row, max_length=3)
    run(tokenizer, tmp_path, row, add_eos=False)
    assert files() == 3


def test_long_rows_make_small_batches_and_all_come_in_order(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    seen: list[int] = []
    really = tokenise_module.render

    def watched(rows: list[dict[str, Any]], *arguments: Any, **more: Any) -> Any:
        seen.append(len(rows))
        return really(rows, *arguments, **more)

    texts = [{"text": f"{n} " + "a" * (30 if n % 5 else 90)} for n in range(1, 25)]
    whole = run(tokenizer, tmp_path / "whole", *texts)
    monkeypatch.setattr(tokenise_module, "render", watched)
    monkeypatch.setattr(encode, "CHARACTERS_PER_BATCH", 80)
    monkeypatch.setattr(encode, "SECONDS_BETWEEN_PROGRESS_LINES", -1)
    with caplog.at_level("INFO"):
        parts = run(tokenizer, tmp_path / "parts", *texts)
    assert (sum(seen), max(seen), min(seen)) == (24, 2, 1)
    assert list(parts.dataset) == list(whole.dataset)
    assert any("Tokenised 2 of 24 rows (" in line for line in caplog.messages), caplog.messages
