"""Uploads of others: read by whoever knows their name, and in no other way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tasks.datasets.prepare import prepare_data
from tasks.errors import DatasetError
from tests.support.models import make_tiny_model
from tests.support.requests import request_body
from tests.support.training import write_jsonl
from trainyard.contract.parser import parse_request
from trainyard.contract.statuses import JobStatus
from trainyard.settings import read_settings
from trainyard.store.job import Job
from worker.supervisor.training_spec import training_spec

OURS, THEIRS = f"file-{'0a' * 12}", f"file-{'0b' * 12}"
ROWS = [{"question": f"{n}?", "answer": f"{n}."} for n in range(4)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", hidden_size=16)
    made = AutoTokenizer.from_pretrained(folder)
    made.chat_template = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    return made


def evaluated(home: Path, tokenizer: Any, evaluates: str) -> int:
    """Rows that evaluate a job, which trains on an upload of its own."""
    for upload in (OURS, THEIRS):
        write_jsonl(home / "files" / upload / "rows.jsonl", ROWS)
    (home / "data").mkdir(exist_ok=True)
    (home / "jobs" / "job-1").mkdir(parents=True, exist_ok=True)
    write_jsonl(home / "data" / "held-back.jsonl", ROWS[:2])
    settings = read_settings(trainyard_home=home, dataset_roots=[home / "data"])
    ours = f"{OURS}/rows.jsonl"
    job = Job("job-1", JobStatus.RUNNING, 1, 0, 0, dataset=ours)
    request = parse_request(request_body(dataset_path=ours, eval_dataset_path=evaluates))
    spec = training_spec(settings, "host-0", job)
    data = prepare_data(request, spec, tokenizer, max_length=100, add_eos=True)
    return 0 if data.eval is None else len(data.eval.dataset)


def test_an_upload_is_read_by_its_name_beside_other_data(tmp_path: Path, tokenizer: Any) -> None:
    assert evaluated(tmp_path, tokenizer, f"{THEIRS}/rows.jsonl") == 4
    assert evaluated(tmp_path, tokenizer, "held-back.jsonl") == 2


@pytest.mark.parametrize(
    "place",
    ["{home}/files", "../files", "{home}/files/" + THEIRS, "../files/" + f"{THEIRS}/rows.jsonl"],
)
def test_a_job_with_an_upload_of_its_own_finds_no_others(
    tmp_path: Path, tokenizer: Any, place: str
) -> None:
    with pytest.raises(DatasetError, match=r"outside of|No such data set"):
        evaluated(tmp_path, tokenizer, place.format(home=tmp_path))


def test_uploads_are_read_by_their_names_among_several_data_sets(
    tmp_path: Path, tokenizer: Any
) -> None:
    evaluated(tmp_path, tokenizer, "held-back.jsonl")
    settings = read_settings(trainyard_home=tmp_path, dataset_roots=[tmp_path / "data"])
    spec = training_spec(settings, "host-0", Job("job-1", JobStatus.RUNNING, 1, 0, 0))

    def rows(*paths: str) -> int:
        body = request_body(dataset_path=None, datasets=[{"path": path} for path in paths])
        data = prepare_data(parse_request(body), spec, tokenizer, max_length=100, add_eos=True)
        return len(data.train.dataset)

    assert rows("held-back.jsonl", f"{OURS}/rows.jsonl") == 6
    for place in (f"{tmp_path}/files", f"../files/{THEIRS}/rows.jsonl", f"{tmp_path}/files/{OURS}"):
        with pytest.raises(DatasetError, match=r"outside of|No such data set"):
            rows("held-back.jsonl", place)
