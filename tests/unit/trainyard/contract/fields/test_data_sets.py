"""Several data sets in a request: every wrong value is named with its place and its mend."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.requests import request_body
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid, TrainingRequest

TWO = [{"path": "a.jsonl", "weight": 2}, {"path": "b.jsonl", "samples": 100}]


ALONE = "datasets: should be given alone, without {}: name all"


def wrong(datasets: Any, **changes: Any) -> str:
    changes.setdefault("dataset_path", None)
    with pytest.raises(RequestInvalid) as error:
        parse_request(request_body(datasets=datasets, **changes))
    return str(error.value)


@pytest.mark.parametrize("place", ["body", "config"])
def test_they_are_read_wherever_they_stand_and_stored_once(place: str) -> None:
    body = request_body(dataset_path=None)
    (body if place == "body" else body["config"])["datasets"] = TWO
    request = parse_request(body)
    assert request.datasets is not None
    assert [one.path for one in request.datasets] == ["a.jsonl", "b.jsonl"]
    assert request.trains_on == "a.jsonl (weight 2), b.jsonl (100 rows)"
    stored = json.loads(json.dumps(request.without_secrets()))
    assert "datasets" not in stored["config"]
    assert TrainingRequest.model_validate(stored).datasets == request.datasets
    assert request.ignored == []


WRONG_VALUES = [
    ({"weight": 0}, "datasets.0.weight: should be above 0: to train on none of a set's rows, "),
    ({"weight": -1.5}, "datasets.0.weight: should be above 0"),
    ({"weight": 1001}, "datasets.0.weight: should be at most 1000"),
    ({"weight": float("nan")}, "datasets.0.weight: should be a finite number"),
    ({"weight": True}, "datasets.0.weight: should be a number, not true or false"),
    ({"weight": "much"}, "datasets.0.weight: should be a number, not 'much'"),
    ({"samples": 0}, "datasets.0.samples: should be greater than or equal to 1"),
    ({"samples": 2.5}, "datasets.0.samples: should be a whole number, not 2.5"),
    ({"samples": 10**10}, "datasets.0.samples: should be less than or equal"),
    ({"weight": 1, "samples": 5}, "datasets.0: weight and samples both say"),
    ({"path": ""}, "datasets.0.path: should not be empty: name a file"),
    ({"path": None}, "datasets.0.path: should be a text, not null"),
    ({"path": "x" * 9000}, "datasets.0.path: string should have at most 8192"),
    ({"columns": ["a"]}, "datasets.0.columns: should be an object, not a list"),
]


@pytest.mark.parametrize(
    ("datasets", "changes", "message"),
    [
        *(([{"path": "a.jsonl", **one}], {}, message) for one, message in WRONG_VALUES),
        ([], {}, "datasets: should name at least one data set, as in"),
        ([{"path": f"{n}.jsonl"} for n in range(51)], {}, "datasets: should name at most 50"),
        ("a.jsonl", {}, "datasets: should be a list, not 'a.jsonl'"),
        (["a.jsonl"], {}, "datasets.0: should be an object"),
        ([{"weight": 2}], {}, "datasets.0.path: field required"),
        (
            [{"path": "a.jsonl"}, {"path": "b"}, {"path": "a.jsonl", "weight": 2}],
            {},
            "datasets: 2 is the same data set as 0 (a.jsonl): send it once, with a weight",
        ),
        (TWO, {"dataset_path": "c.jsonl"}, ALONE.format("dataset_path")),
        (TWO, {"dataset_content": "{}"}, ALONE.format("dataset_content")),
        (
            TWO,
            {"dataset_path": "c.jsonl", "dataset_content": "{}"},
            ALONE.format("dataset_path and dataset_content"),
        ),
        (None, {}, "dataset_path: required where there is no dataset_content and no datasets"),
        *((junk, {}, "datasets") for junk in (7, "x", [7, None, {"path": 7}], {"path": "a"})),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_named_with_its_place(
    datasets: Any, changes: dict[str, Any], message: str
) -> None:
    assert message in wrong(datasets, **changes)


def test_one_path_may_stand_twice_if_something_tells_it_apart() -> None:
    sets = [{"path": "a", "subset": "x"}, {"path": "a", "subset": "y"}, {"path": "a", "split": "z"}]
    assert parse_request(request_body(dataset_path=None, datasets=sets)).datasets is not None


def test_neither_is_another_list_in_config() -> None:
    body = request_body(dataset_path=None, datasets=TWO)
    body["config"]["datasets"] = TWO
    with pytest.raises(RequestInvalid, match=r"^datasets: .* without config.datasets"):
        parse_request(body)
    body = request_body(dataset_path="a.jsonl")
    body["config"]["datasets"] = TWO
    with pytest.raises(RequestInvalid, match=r"^config.datasets: .* without dataset_path"):
        parse_request(body)


def test_a_field_that_means_nothing_is_named_with_what_may_be_meant() -> None:
    sets = [{"path": "a.jsonl", "wieght": 2}]
    request = parse_request(request_body(dataset_path=None, datasets=sets))
    assert request.ignored == ["datasets.0.wieght (did you mean weight?)"]


def test_secrets_in_their_addresses_are_kept_apart() -> None:
    sets = [
        {"path": "https://user:pass-word-1@host/a.jsonl"},
        {"path": "b.jsonl"},
        {"path": "https://host/c?X-Amz-Signature=sig-na-ture", "weight": 2},
    ]
    request = parse_request(request_body(dataset_path=None, datasets=sets))
    stored = json.dumps(request.without_secrets()) + repr(request)
    assert "pass-word-1" not in stored
    assert "sig-na-ture" not in stored
    assert request.whole_dataset_path is not None
    whole = request.whole_dataset_path.get_secret_value().splitlines()
    assert whole == [sets[0]["path"], sets[2]["path"]]


@pytest.mark.parametrize("place", ["body", "config"])
@pytest.mark.parametrize("first", ["", "?token=one"])
def test_addresses_that_only_a_secret_tells_apart_are_refused(place: str, first: str) -> None:
    url = "https://host/get"
    sets = [{"path": url + first}, {"path": f"{url}?token=two", "split": "train"}]
    body = request_body(dataset_path=None)
    (body if place == "body" else body["config"])["datasets"] = sets
    with pytest.raises(RequestInvalid, match=r"datasets.1.path: differs from .*datasets.0.path"):
        parse_request(body)


def test_one_address_with_a_secret_may_stand_twice() -> None:
    url = "https://host/get?token=one"
    sets = [{"path": url, "split": split} for split in ("train", "more")]
    whole = parse_request(request_body(dataset_path=None, datasets=sets)).whole_dataset_path
    assert whole is not None
    assert whole.get_secret_value() == url
