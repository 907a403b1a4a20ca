"""Several data sets as one: which rows train and evaluate, how often, and what is said of each."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tasks.datasets.mix import mixed
from tasks.datasets.mix.report import MixReport
from tasks.datasets.report import NOT_USABLE
from tasks.datasets.training_data import TrainingData
from tasks.errors import ConfigurationError, DatasetError
from tests.support.models import make_tiny_model
from tests.support.prepared_data import checked, prepared_here
from tests.support.requests import request_body
from tests.support.training import write_jsonl
from trainyard.contract.job_folder import DATA_REPORT

ASKED = [{"question": f"a{n}?", "answer": f"yes {n}"} for n in range(10)]
CHATS = [
    {"messages": [{"role": "user", "content": f"b{n}?"}, {"role": "assistant", "content": "no"}]}
    for n in range(6)
]
TEXTS = [{"text": f"c{n} is a text"} for n in range(20)]
PAIRS = [{"prompt": f"p{n}?", "chosen": f"{n}.", "rejected": "What?"} for n in range(8)]
TEMPLATE = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    make_tiny_model(home / "tiny", hidden_size=16)
    write_jsonl(home / "asked.jsonl", ASKED)
    write_jsonl(home / "chats.jsonl", CHATS)
    write_jsonl(home / "texts.jsonl", TEXTS)
    write_jsonl(home / "pairs.jsonl", PAIRS)
    write_jsonl(home / "answers.jsonl", [{"q": f"d{n}?", "a": f"{n}"} for n in range(5)])
    write_jsonl(home / "broken.jsonl", [*CHATS, {"messages": "none"}])
    write_jsonl(home / "long.jsonl", [*ASKED[:3], {"question": "x" * 900, "answer": "y"}])
    write_jsonl(home / "again.jsonl", ASKED[:4])
    for split in ("train", "validation"):
        write_jsonl(home / "both" / f"{split}.jsonl", TEXTS if split == "train" else TEXTS[:2])
    (home / "play.txt").write_text("\n\n".join(f"line {n}" for n in range(8)))
    (home / "jobs").mkdir()
    return home


def one(path: str, **how: Any) -> dict[str, Any]:
    return {"path": path, **how}


def prepared(home: Path, *sets: dict[str, Any], seed: int = 42, **more: Any) -> TrainingData:
    body = request_body(dataset_path=None, datasets=list(sets), **more)
    body["config"]["seed"] = seed
    return prepared_here(home, body, TEMPLATE, max_length=64)


def texts(home: Path, rows: Any) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(home / "tiny")
    return [
        tokenizer.decode(row["input_ids"] if "input_ids" in row else row["prompt_ids"])
        for row in rows.dataset
    ]


def of_set(texts: list[str], letter: str) -> Counter[str]:
    """Questions of one set, with how often each stands there."""
    found = (text.replace("<s>", "").lstrip() for text in texts)
    return Counter(text.split("?")[0].split(" ")[0] for text in found if text.startswith(letter))


def said(data: TrainingData) -> list[dict[str, Any]]:
    assert isinstance(data.report, MixReport)
    sets: list[dict[str, Any]] = data.report.as_json()["sets"]
    return sets


def test_sets_of_several_shapes_are_laid_together_and_shuffled_by_the_seed(home: Path) -> None:
    sets = one("asked.jsonl"), one("chats.jsonl"), one("texts.jsonl")
    data = prepared(home, *sets)
    rows = texts(home, data.train)
    assert {letter: sum(of_set(rows, letter).values()) for letter in "abc"} == {
        **{"a": 10, "b": 6, "c": 20}
    }
    assert len(set(rows)) == len(rows) == 36
    assert [row[3:4] for row in rows] != sorted(row[3:4] for row in rows)
    assert texts(home, prepared(home, *sets).train) == rows
    other = texts(home, prepared(home, *sets, seed=43).train)
    assert other != rows
    assert sorted(other) == sorted(rows)
    assert data.train.tokens == sum(len(row["input_ids"]) for row in data.train.dataset)


def test_a_weight_counts_rows_and_samples_are_so_many(home: Path) -> None:
    data = prepared(
        home,
        one("asked.jsonl", weight=2.3),
        one("chats.jsonl", weight=0.5),
        one("texts.jsonl", samples=4),
    )
    rows = texts(home, data.train)
    assert sorted(of_set(rows, "a").values()) == [2] * 7 + [3] * 3
    assert sorted(of_set(rows, "b").values()) == [1] * 3
    assert sorted(of_set(rows, "c").values()) == [1] * 4
    assert [one["used"] for one in said(data)] == [
        {"train": 23, "eval": 0},
        {"train": 3, "eval": 0},
        {"train": 4, "eval": 0},
    ]
    assert [(one["weight"], one["samples"]) for one in said(data)] == [
        *((2.3, None), (0.5, None), (None, 4))
    ]
    assert data.report.splits == {"train": 30, "eval": 0}


def test_more_samples_than_there_are_repeat_the_set(home: Path) -> None:
    data = prepared(home, one("chats.jsonl", samples=20), one("asked.jsonl"))
    assert sorted(of_set(texts(home, data.train), "b").values()) == [3] * 4 + [4] * 2
    assert "20 train (6 rows, 3.33 times each)" in "\n".join(data.report.lines())


def test_what_evaluates_is_taken_before_rows_are_repeated(home: Path) -> None:
    sets = one("asked.jsonl", weight=5), one("texts.jsonl", weight=0.5), one("chats.jsonl")
    data = prepared(home, *sets, data={"eval_split": 0.3})
    assert data.eval is not None
    train, evaluation = texts(home, data.train), texts(home, data.eval)
    assert not set(train) & set(evaluation)
    assert sorted(of_set(train, "a").values()) == [5] * 7
    assert [sum(of_set(evaluation, letter).values()) for letter in "abc"] == [3, 2, 3]
    assert [one["used"] for one in said(data)] == [
        {"train": 35, "eval": 3},
        {"train": 7, "eval": 3},
        {"train": 4, "eval": 2},
    ]
    assert data.report.leaked == 0


def test_a_ready_made_eval_split_is_used_whole(home: Path) -> None:
    data = prepared(home, one("both", samples=3), one("asked.jsonl"))
    assert said(data)[0]["used"] == {"train": 3, "eval": 2}


def test_each_set_has_its_own_columns_and_split(home: Path) -> None:
    columns = {"question": "q", "answer": "a"}
    data = prepared(home, one("answers.jsonl", columns=columns), one("both", split="validation"))
    rows = texts(home, data.train)
    assert sum(of_set(rows, "d").values()) == 5
    assert sum(of_set(rows, "c").values()) == 2


def test_a_data_set_of_its_own_evaluates_beside_them(home: Path) -> None:
    data = prepared(
        home, one("asked.jsonl", weight=2), one("texts.jsonl"), eval_dataset_path="again.jsonl"
    )
    assert data.eval is not None
    assert (len(data.train.dataset), len(data.eval.dataset)) == (40, 4)
    assert data.report.as_json()["eval_set"]["rows"] == 4
    assert "4 rows that evaluate are in the train split of a set, too" in data.report.warnings


def test_rows_that_two_sets_have_are_counted(home: Path) -> None:
    data = prepared(home, one("asked.jsonl"), one("again.jsonl"))
    assert "4 rows repeat a row of an earlier set" in data.report.warnings
    assert data.report.duplicates == 4
    data = prepared(home, one("asked.jsonl"), one("both"), one("texts.jsonl"))
    assert data.report.leaked == 2
    assert "2 rows of the eval split are in the train split, too" in "".join(data.report.warnings)


def test_preferences_are_mixed(home: Path) -> None:
    write_jsonl(home / "more.jsonl", [{**row, "prompt": f"q{row['prompt']}"} for row in PAIRS])
    data = prepared(
        home, one("pairs.jsonl", weight=1.5), one("more.jsonl"), training={"method": "dpo"}
    )
    assert sorted(of_set(texts(home, data.train), "p").values()) == [1] * 4 + [2] * 4
    assert sum(of_set(texts(home, data.train), "q").values()) == 8


def test_labels_count_in_all_sets_together(home: Path) -> None:
    for name, good in (("good", True), ("bad", False)):
        rows = [{"prompt": f"{n}?", "completion": name, "label": good} for n in range(5)]
        write_jsonl(home / f"{name}.jsonl", rows)
    sets = one("good.jsonl"), one("bad.jsonl", weight=2)
    data = prepared(home, *sets, training={"method": "kto"})
    assert sorted(data.train.dataset["label"]) == [False] * 10 + [True] * 5
    assert data.report.labels == (5, 5)
    assert not [warning for warning in data.report.warnings if "every row is" in warning]
    data = prepared(home, one("good.jsonl", weight=2), training={"method": "kto"})
    assert "every row is good: nothing says what is bad" in data.report.warnings


def test_a_text_of_paragraphs_stays_in_order_after_the_others(home: Path) -> None:
    training = {"method": "cpt"}
    data = prepared(home, one("play.txt", weight=2), one("texts.jsonl"), training=training)
    rows = [text.replace("<s>", "").replace("</s>", "") for text in texts(home, data.train)]
    assert all(row.lstrip().startswith("c") for row in rows[:20])
    lines = [row.replace("<eos>", "").strip() for row in rows[20:]]
    assert lines == [f"line {n}" for n in range(8)] * 2


def test_what_is_wrong_is_said_of_each_set_and_its_line(home: Path) -> None:
    with pytest.raises(DatasetError) as wrong:
        prepared(home, one("asked.jsonl"), one("broken.jsonl"), one("pairs.jsonl"))
    assert wrong.value.sentence.startswith("Of data set 2, broken.jsonl: 1 of 7 rows")
    assert "line 7 of 'broken.jsonl'" in wrong.value.sentence
    assert "These cannot be used either: pairs.jsonl" in wrong.value.sentence
    with pytest.raises(DatasetError, match=r"^Of data set 1, none.jsonl: No such data") as missing:
        prepared(home, one("none.jsonl"), one("asked.jsonl"))
    assert missing.value.mend.startswith("Check datasets.0.path")
    with pytest.raises(DatasetError, match=r"^Of data set 2, \.\./etc: .* lies outside"):
        prepared(home, one("asked.jsonl"), one("../etc"))
    with pytest.raises(DatasetError, match=r"^Of data set 2, answers.jsonl: No usable") as columns:
        prepared(home, one("asked.jsonl"), one("answers.jsonl"))
    assert "datasets.1.columns" in columns.value.mend


def test_a_set_that_the_method_cannot_take_is_named(home: Path) -> None:
    with pytest.raises(DatasetError, match=r"^Of data set 2, asked.jsonl: ") as wrong:
        prepared(home, one("pairs.jsonl"), one("asked.jsonl"), training={"method": "dpo"})
    assert "send config.training.method" in wrong.value.mend


def test_bad_rows_of_each_are_left_out_and_counted(home: Path) -> None:
    data = prepared(
        home, one("broken.jsonl", weight=2), one("long.jsonl"), data={"skip_bad_rows": True}
    )
    found = [(one["rows"], one["left_out_rows"], one["used"]["train"]) for one in said(data)]
    assert found == [(7, 1, 12), (4, 1, 3)]
    [bad, dropped] = data.report.warnings[:2]
    assert bad == "broken.jsonl: 1 of 7 rows cannot be used and are left out"
    assert dropped.startswith("long.jsonl: 1 of 4 rows dropped")
    report = json.loads((home / "jobs" / DATA_REPORT).read_bytes())
    assert report["problem_count"] == 1
    assert report["problems"][0]["file"] == "broken.jsonl"
    assert [one["path"] for one in report["sets"]] == ["broken.jsonl", "long.jsonl"]
    assert report["splits"] == {"train": 15, "eval": 0}


def test_prompts_of_two_forms_are_refused(home: Path) -> None:
    write_jsonl(home / "prompts.jsonl", [{"prompt": f"{n}?"} for n in range(4)])
    rlhf = {"reward_functions": ["brevity"], "max_completion_length": 8}
    with pytest.raises(DatasetError, match=r"^Of data set 2, asked.jsonl: its prompts") as wrong:
        prepared(
            home,
            one("prompts.jsonl"),
            one("asked.jsonl"),
            training={"method": "rlhf", "rlhf": rlhf},
        )
    assert "as messages" in wrong.value.mend


def test_a_mix_has_a_bound(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "MIXED_ROWS_MAX", 100)
    assert len(prepared(home, one("asked.jsonl", weight=10)).train.dataset) == 100
    with pytest.raises(ConfigurationError, match=r"come to 110 rows.*at most 100") as wrong:
        prepared(home, one("asked.jsonl", weight=11))
    assert wrong.value.mend.startswith("Lower weight or samples")


@pytest.mark.parametrize("with_model", [False, True])
def test_the_check_says_the_same(home: Path, with_model: bool) -> None:
    sets = [one(str(home / "asked.jsonl"), weight=2), one(str(home / "texts.jsonl"))]
    report = checked(
        *("two sets", home / "cache"),
        **{"datasets": sets, "model": "tiny", "with_model": with_model, "roots": [home]},
    )
    assert report.error is None
    lines = list(report.lines())
    assert lines[0] == "Data sets  2, mixed by the seed 42: train 40, eval 0"
    assert lines[1].endswith("asked.jsonl (weight 2): 10 rows found, 0 left out, 20 train "
                             "(10 rows, 2 times each), 0 evaluate")  # fmt: skip
    assert lines[-1].startswith("Usable for sft")
    assert report.as_json()["sets"][0]["used"] == {"train": 20, "eval": 0}


def test_a_check_looks_at_every_set(home: Path) -> None:
    sets = [one(str(home / name)) for name in ("nowhere", "broken.jsonl", "asked.jsonl")]
    report = checked("three", home / "cache", datasets=sets)
    assert report.exit_code == NOT_USABLE
    assert [bool(one["error"]) for one in report.as_json()["sets"]] == [True, True, False]
