"""A data set of its own that evaluates: the same checks, a report of its own, and what it conflicts
with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.datasets.report import NOT_USABLE, Report
from tasks.datasets.training_data import TrainingData
from tasks.errors import DatasetError
from tests.support.models import make_tiny_model
from tests.support.prepared_data import checked, prepared_here
from tests.support.requests import request_body
from tests.support.training import write_jsonl
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid
from trainyard.contract.verdicts import VerdictKind

TRAIN = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}."} for n in range(9)]
# Of another shape, and two rows of it are trained on.
EVAL = [
    {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
    for asked, said in [("Two?", "2"), ("Three?", "3"), *(tuple(row.values()) for row in TRAIN[:2])]
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    make_tiny_model(home / "tiny", hidden_size=16)
    write_jsonl(home / "train.jsonl", TRAIN)
    write_jsonl(home / "held-back.jsonl", EVAL)
    write_jsonl(home / "broken.jsonl", [*EVAL, {"messages": "none"}])
    for split in ("train", "validation"):
        write_jsonl(home / "both" / f"{split}.jsonl", TRAIN if split == "train" else TRAIN[:4])
    (home / "jobs").mkdir()
    return home


def body(train: str, evaluates: str, **data: Any) -> dict[str, Any]:
    return request_body(dataset_path=train, eval_dataset_path=evaluates, data=data)


def prepared(home: Path, train: str, evaluates: str, **data: Any) -> TrainingData:
    template = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    return prepared_here(home, body(train, evaluates, **data), template, max_length=100)


def rows(data: TrainingData) -> tuple[int, int]:
    return len(data.train.dataset), 0 if data.eval is None else len(data.eval.dataset)


def test_all_its_rows_evaluate_and_those_that_train_too_are_counted(home: Path) -> None:
    data = prepared(home, "train.jsonl", "held-back.jsonl")
    assert rows(data) == (9, 4)
    said = data.report.as_json()
    assert said["splits"] == {"train": 9, "eval": 4}
    assert (said["rows"], said["leaked"]) == (9, 2)
    [warning] = [one for one in data.report.verdicts if one.kind is VerdictKind.DATA]
    assert warning.sentence == "2 rows of the eval split are in the train split, too"
    own = said["eval_set"]
    assert (own["path"], own["rows"], own["splits"]) == ("held-back.jsonl", 4, {"eval": 4})
    assert own["files"] == [{"file": "held-back.jsonl", "split": "eval", "rows": 4}]
    assert own["shape"] != said["shape"]
    assert own["tokens"] == data.eval.tokens if data.eval else None


def test_shares_of_what_trains_are_not_used_beside_it_and_this_is_said(home: Path) -> None:
    data = prepared(home, "train.jsonl", "held-back.jsonl", eval_split=0.5, max_samples=6)
    assert rows(data) == (6, 4)
    assert any("data.eval_split are not used" in note for note in data.report.notes)


def test_of_a_set_with_splits_each_gives_its_own(home: Path) -> None:
    train = prepared(home, "both", "held-back.jsonl")
    assert rows(train) == (9, 4)
    assert "Its eval split (4 rows) is not used: eval_dataset_path evaluates." in train.report.notes
    evaluation = prepared(home, "train.jsonl", "both")
    assert rows(evaluation) == (9, 4)
    assert evaluation.report.eval_set is not None
    assert evaluation.report.eval_set.notes == [
        "Its train split (9 rows) is not used: this one only evaluates."
    ]


def test_what_is_wrong_with_it_is_said_of_it(home: Path) -> None:
    with pytest.raises(DatasetError, match=r"^Of the eval data set: 1 of 5 rows of the data set"):
        prepared(home, "train.jsonl", "broken.jsonl")
    with pytest.raises(DatasetError, match=r"^Of the eval data set: No such data set") as missing:
        prepared(home, "train.jsonl", "none.jsonl")
    assert missing.value.mend.startswith("Check eval_dataset_path")
    with pytest.raises(DatasetError, match=r"Of the eval data set: .* lies outside"):
        prepared(home, "train.jsonl", "../etc")
    data = prepared(home, "train.jsonl", "broken.jsonl", skip_bad_rows=True)
    assert rows(data) == (9, 4)
    assert "eval set: 1 of 5 rows cannot be used and are left out" in data.report.warnings


def checked_here(home: Path, evaluates: str, *, with_model: bool) -> Report:
    places = {"roots": [home], "eval_path": str(home / evaluates)}
    return checked(
        home / "train.jsonl", home / "cache", model="tiny", with_model=with_model, **places
    )


@pytest.mark.parametrize("with_model", [False, True])
def test_the_check_reports_on_both(home: Path, with_model: bool) -> None:
    report = checked_here(home, "held-back.jsonl", with_model=with_model)
    assert report.error is None
    lines = list(report.lines())
    at = lines.index("Eval set   held-back.jsonl")
    assert any("read as" in line for line in lines[:at])
    assert any(line.startswith("  Rows       4, read as messages") for line in lines[at:])
    assert lines[-2:] == [
        "Warning: 2 rows of the eval split are in the train split, too",
        "Usable for sft with warnings",
    ]


def test_a_check_ends_with_what_is_wrong_with_the_eval_set(home: Path) -> None:
    report = checked_here(home, "broken.jsonl", with_model=False)
    assert report.exit_code == NOT_USABLE
    assert str(report.error).startswith("Of the eval data set: 1 of 5 rows")
    assert str(checked_here(home, "nowhere", with_model=False).error).startswith(
        "Of the eval data set: No such file or folder"
    )


@pytest.mark.parametrize("place", ["body", "config"])
def test_its_address_holds_no_secret(place: str) -> None:
    address = {"eval_dataset_path": "https://user:pass-word-1@host/a.jsonl"}
    request = request_body()
    (request if place == "body" else request["config"]).update(address)
    with pytest.raises(RequestInvalid, match=r"eval_dataset_path: should be a URL without user"):
        parse_request(request)


def test_it_may_stand_in_config_as_dataset_path_does() -> None:
    request = request_body()
    request["config"]["eval_dataset_path"] = "a.jsonl"
    assert parse_request(request).eval_dataset_path == "a.jsonl"
