"""Trainings on several data sets: what the job's folder, log and card say of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.training import Preloaded, Run, run_training, write_jsonl
from trainyard.contract.events import Reading
from trainyard.contract.job_folder import DATA_REPORT

ASKED = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}."} for n in range(20)]
TEXTS = [{"text": f"{n} and 1 are {n + 1}."} for n in range(10)]
PAIRS = [{"prompt": f"{n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(12)]
CHATS = [
    {
        "chosen": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Yes."}],
        "rejected": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "No."}],
    }
    for n in range(6)
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for name, rows in {"asked": ASKED, "texts": [*TEXTS, {"text": ""}], "pairs": PAIRS}.items():
        write_jsonl(home / "datasets" / f"{name}.jsonl", rows)
    write_jsonl(home / "datasets" / "chats.jsonl", CHATS)
    write_jsonl(home / "datasets" / "held-back.jsonl", ASKED[:2])
    return home


def trained(home: Path, models: Path, preloaded: Preloaded, name: str, **parts: Any) -> Run:
    training = {"max_steps": 3, "batch_size": 4, "logging_steps": 1, "eval_strategy": "epoch"}
    request = {
        "execution_id": name,
        "datasets": parts["datasets"],
        "eval_dataset_path": parts.get("evaluates", ""),
        "config": {
            "model": {"name": "tiny"},
            "training": {**training, **parts["training"]},
            "data": parts["data"],
        },
    }
    run = run_training(home, request, models=models, preloaded=preloaded)
    assert run.outcome.outcome == "completed", run.log
    return run


def used(run: Run) -> list[tuple[int, int, dict[str, int]]]:
    report = json.loads((run.job_dir / DATA_REPORT).read_bytes())
    return [(one["rows"], one["left_out_rows"], one["used"]) for one in report["sets"]]


def test_questions_and_texts_in_one_training(
    home: Path, models: Path, preloaded: Preloaded
) -> None:
    run = trained(
        *(home, models, preloaded, "sft"),
        datasets=[{"path": "asked.jsonl", "weight": 1.5}, {"path": "texts.jsonl", "samples": 5}],
        training={},
        data={"eval_split": 0.2, "skip_bad_rows": True},
    )
    assert used(run) == [(20, 0, {"train": 24, "eval": 4}), (11, 1, {"train": 5, "eval": 1})]
    result = run.outcome.result
    assert (result["train_rows"], result["eval_rows"]) == (29, 5)
    said = "asked.jsonl (weight 1.5): 20 rows found, 0 left out, 24 train (16 rows, 1.5 times each)"
    assert said in run.log
    card = (run.job_dir / "model" / "README.md").read_text()
    assert f"| data set 1 | {said}, 4 evaluate |" in card
    assert "| data set 2 | texts.jsonl (5 rows): 11 rows found, 1 left out, 5 train, " in card
    assert "| rows are | question/answer + text, mixed by the seed 42 |" in card
    assert run.of(Reading)[0].source == "asked.jsonl (weight 1.5), texts.jsonl (5 rows)"


def test_texts_and_conversations_of_preferences_in_one_training(
    home: Path, models: Path, preloaded: Preloaded
) -> None:
    run = trained(
        *(home, models, preloaded, "dpo"),
        datasets=[{"path": "pairs.jsonl"}, {"path": "chats.jsonl", "weight": 2}],
        evaluates="pairs.jsonl",
        training={"method": "dpo"},
        data={},
    )
    assert used(run) == [(12, 0, {"train": 12, "eval": 0}), (6, 0, {"train": 12, "eval": 0})]
    assert run.outcome.result["eval_rows"] == 12
    assert "12 rows that evaluate are in the train split of a set, too" in run.log
