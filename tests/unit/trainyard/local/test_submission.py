"""Requests as they are sent from this machine: all that is wrong with one is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainyard.contract.request import RequestInvalid
from trainyard.local import submission
from trainyard.local.typed_paths import PathRefused
from trainyard.settings import settings


@pytest.fixture(autouse=True)
def _own_yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A yard of this machine, with the data set ``chats.jsonl`` and the model ``tiny_model``."""
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "chats.jsonl").touch()
    (tmp_path / "models" / "tiny_model").mkdir(parents=True)
    monkeypatch.setenv("DATASET_ROOTS", str(tmp_path / "sets"))
    monkeypatch.setenv("MODEL_ROOTS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(submission, "_is_yard_of_this_machine", lambda _: True)


def test_paths_are_refused_with_all_else_that_is_wrong() -> None:
    body = {
        "dataset_path": "mychat.jsonl",
        "eval_dataset_path": "none.jsonl",
        "job_token": "t",
        "config": {
            "model": {"name": "tiny_modl"},
            "training": {"num_epochs": "many", "learning_rate": -1, "batch_size": 0},
        },
    }
    with pytest.raises(RequestInvalid) as refused:
        submission.prepare(body, settings())
    told = {problem.path: problem.message for problem in refused.value.problems}
    assert list(told) == [
        *("dataset_path", "eval_dataset_path", "config.model.name"),
        *(f"config.training.{name}" for name in ("num_epochs", "learning_rate", "batch_size")),
    ]
    assert told["config.model.name"].startswith("No such model: 'tiny_modl' (looked in ")
    assert "Did you mean 'tiny_model'?" in told["config.model.name"]
    assert told["eval_dataset_path"].endswith("Check the path; DATASET_ROOTS names the folders")


def test_each_of_several_data_sets_is_looked_up_and_what_means_nothing_told_too() -> None:
    several = [{"path": path} for path in ("chats.jsonl", "chat.jsonl", "s3://b/k", "none.jsonl")]
    body = {"datasets": several, "job_token": "t", "config": {"model": {"name": "tiny_model"}}}
    with pytest.raises(RequestInvalid) as refused:
        submission.prepare({**body, "prioriti": 1}, settings())
    told = {problem.path: problem.message for problem in refused.value.problems}
    assert list(told) == ["datasets.1.path", "datasets.3.path", "body"]
    assert told["body"].startswith("fields that mean nothing: prioriti (did you mean priority?)")


def test_one_path_alone_is_refused_in_its_own_sentence() -> None:
    config = {"model": {"name": "tiny_model"}}
    body = {"dataset_path": "chat.jsonl", "job_token": "t", "config": config}
    with pytest.raises(PathRefused, match=r"^No such data set: 'chat\.jsonl' \(looked in "):
        submission.prepare(body, settings())
