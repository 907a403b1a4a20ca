"""Grid of a sweep: the requests that it makes, and what is wrong with it, place and mend."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.requests import TOKEN, request_body
from trainyard.contract.fields.sweep import member_bodies, parse_sweep
from trainyard.contract.parser import parse_request
from trainyard.contract.request import FieldProblem, RequestInvalid, StartRequest
from trainyard.contract.rules import problems

GRID = {"training.learning_rate": [1e-4, 2e-4], "lora.r": [8, 16]}
JOBS_MAX = 8


def parsed(sweep: Any, **changes: Any) -> list[StartRequest]:
    return parse_sweep(request_body("grid", sweep=sweep, **changes), JOBS_MAX)


def refusal(sweep: Any, **changes: Any) -> str:
    with pytest.raises(RequestInvalid) as refused:
        parsed(sweep, **changes)
    return str(refused.value)


def test_each_combination_is_a_request_of_its_own() -> None:
    requests = parsed(GRID)
    assert [request.execution_id for request in requests] == [f"grid-{n}" for n in (1, 2, 3, 4)]
    config = [
        (r.config.training.learning_rate, r.config.lora and r.config.lora.r) for r in requests
    ]
    assert config == [(1e-4, 8), (1e-4, 16), (2e-4, 8), (2e-4, 16)]
    place = requests[2].group
    assert place is not None
    assert (place.id, place.number, place.of) == ("grid", 3, 4)
    assert place.settings == {"training.learning_rate": 2e-4, "lora.r": 8}
    assert requests[2].name == "a job: learning_rate=0.0002, r=8"
    assert {request.job_token.get_secret_value() for request in requests} == {TOKEN}


def test_the_rest_of_the_config_and_the_body_stay_as_they_were() -> None:
    body = request_body("grid", sweep=GRID, training={"method": "sft", "batch_size": 3})
    requests = parse_sweep(body, JOBS_MAX)
    assert {request.config.training.batch_size for request in requests} == {3}
    assert body["config"]["training"] == {"method": "sft", "batch_size": 3}


def test_numbers_have_zeros_so_that_names_sort() -> None:
    made = member_bodies(request_body("grid", sweep={"seed": list(range(10))}), 10)
    assert made[0]["execution_id"] == "grid-01"
    assert made[9]["execution_id"] == "grid-10"


def test_without_a_name_it_gets_one() -> None:
    body = request_body("grid", sweep=GRID)
    del body["execution_id"], body["name"]
    first, *_ = parse_sweep(body, JOBS_MAX)
    assert first.group is not None
    assert first.execution_id == f"{first.group.id}-1"
    assert first.name == f"{first.group.id}: learning_rate=0.0001, r=8"


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ([], 'sweep: should be an object such as {"training.learning_rate": [1, 2]}'),
        ({}, "sweep: should be an object"),
        ({"lora.r": 8}, "sweep.lora.r: should be a list of values"),
        ({"lora.r": []}, "sweep.lora.r: should be a list of values"),
        ({"lora.r": [8, 8]}, "sweep.lora.r: has a value twice"),
        ({"lora..r": [8]}, "sweep.lora..r: should be a field of config, as lora.r"),
        ({"lora.r": [8], "config.lora.r": [9]}, "config.lora.r: is lora.r, which is named twice"),
        ({"seed": list(range(9))}, "sweep: makes 9 jobs, and MAX_SWEEP_JOBS allows 8: leave"),
        ({"training.lr": [1, 2]}, "sweep.training.lr: means nothing (did you mean learning_rate?)"),
        ({"optimizer.lr": [1, 2]}, "sweep.optimizer.lr: means nothing"),
        (
            {"training.learning_rate": [1e-4, -1.0, -2.0]},
            "sweep.training.learning_rate: should be greater than 0 (it is -1.0, -2.0)",
        ),
        ({"lora.r": [8, "x"]}, "sweep.lora.r: should be a whole number, not 'x'"),
        ({"training.method.x": [1]}, "sweep.training.method.x: cannot be set: what holds x"),
        (
            {"config.training.batch_size": [0]},
            "sweep.config.training.batch_size: should be greater than or equal to 1 (it is 0)",
        ),
        (
            {"lora.r": [8], "training.lora_r": [8, 16]},
            "sweep: makes the same job twice: with r=8, lora_r=8 and with r=8, lora_r=16",
        ),
        ({"training.learning_rate": [1e-4, "1e-4"]}, "sweep: makes the same job twice"),
        ({"seed": list(range(100_000))}, "sweep: makes 100,000 jobs, and MAX_SWEEP_JOBS allows 8"),
        ({f"a{n}": list(range(9)) for n in range(100)}, "jobs, and MAX_SWEEP_JOBS allows 8"),
        ({f"a{n}": [1] for n in range(101)}, "sweep: should name at most 100 fields"),
        ({"\ud800": [1]}, "sweep.\\ud800: should be a field of config"),
        ({"seed": ["\ud800"]}, "sweep.seed: has half of a surrogate pair"),
        ({"provider.api_key": ["one", "two"]}, "sweep.provider.api_key: means nothing"),
    ],
)
def test_what_is_no_grid_is_refused(sweep: Any, said: str) -> None:
    assert said in refusal(sweep)


@pytest.mark.parametrize(
    "sweep",
    [
        {"model.name": [TOKEN, "b"]},
        {"training.hub_model": [TOKEN]},
        {f"x {TOKEN}": [1]},
        {"training.learning_rate": [f"https://u:{TOKEN}@host/x"]},
        {"eval_dataset_path": ["https://user:hunter22@host/x.jsonl"]},
        {"training": [{"hf_token": "hunter22", "learning_rate": "fast"}]},
    ],
)
def test_what_is_said_of_a_wrong_setting_has_no_secret(sweep: Any) -> None:
    said = refusal(sweep)
    assert TOKEN not in said
    assert "hunter22" not in said


def test_a_wrong_request_is_told_once_for_all() -> None:
    assert refusal(GRID, job_token="") == "job_token: should not be empty"


def test_what_is_wrong_in_one_combination_is_told_with_it() -> None:
    def check(request: StartRequest) -> list[FieldProblem]:
        return problems(request.config, gpu=None)

    grid = {"training.method": ["sft", "dpo"], "training.loss_type": ["sigmoid"]}
    with pytest.raises(RequestInvalid) as refused:
        parse_sweep(request_body("grid", sweep=grid), JOBS_MAX, check)
    assert "sweep.training.loss_type: " in str(refused.value)


def test_data_that_each_job_would_keep_are_bounded() -> None:
    content = "x" * 33_000_000
    body = {"dataset_content": content, "dataset_path": None}
    assert "dataset_content: each of 4 jobs keeps it: put the file" in refusal(GRID, **body)


def test_it_is_never_taken_for_one_job() -> None:
    with pytest.raises(RequestInvalid, match="sweep: is read where jobs are submitted"):
        parse_request(request_body("grid", sweep=GRID))


def test_a_request_cannot_put_itself_into_a_group() -> None:
    group = {"id": "other", "number": 1, "of": 1, "settings": {}}
    assert parse_request(request_body("one", group=group)).group is None
