"""Fields that nothing reads are named with what their writer may have meant."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.requests import request_body, start_request
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid


@pytest.mark.parametrize(
    ("section", "name", "meant"),
    [
        ("training", "learning_rte", "learning_rate"),
        ("training", "learningRate", "learning_rate"),
        ("training", "lr", "learning_rate"),
        ("training", "num_train_epoch", "num_train_epochs"),
        ("training", "lora_alpa", "lora_alpha"),
        ("model", "revison", "revision"),
        ("data", "max_sample", "max_samples"),
        ("data", "learning_rate", "config.training.learning_rate"),
    ],
)
def test_a_slip_of_the_hand(section: str, name: str, meant: str) -> None:
    given: dict[str, Any] = {"name": "m"} if section == "model" else {}
    request = start_request(**{section: {**given, name: 1}})
    assert request.ignored == [f"config.{section}.{name} (did you mean {meant}?)"]


def test_a_short_name() -> None:
    def said(name: str) -> list[str]:
        body = request_body()
        body["config"]["lora"] = {name: 4}
        return parse_request(body).ignored

    assert said("rr") == ["config.lora.rr (did you mean r?)"]
    assert said("lr") == ["config.lora.lr (did you mean config.training.learning_rate?)"]
    assert said("xy") == ["config.lora.xy"]


def test_at_every_level() -> None:
    training = {"distributed": {"procesess": 2}, "rlhf": {"temprature": 1}}
    body = request_body(job_id="x", training=training, prioriti=3)
    body["config"] |= {"sed": 1, "traning": {}, "batch_size": 2}
    assert parse_request(body).ignored == [
        "config.batch_size (did you mean config.training.batch_size?)",
        "config.sed (did you mean seed?)",
        "config.training.distributed.procesess (did you mean processes?)",
        "config.training.rlhf.temprature (did you mean temperature?)",
        "config.traning (did you mean training?)",
        "prioriti (did you mean priority?)",
    ]


def test_a_job_id_is_called_execution_id() -> None:
    body = {**request_body(), "job_id": "mine"}
    assert parse_request(body).ignored == ["job_id (did you mean execution_id?)"]


@pytest.mark.parametrize("name", ["neftune", "x", "callback_url", "ignored", "notes", "max"])
def test_what_resembles_nothing_gets_no_advice(name: str) -> None:
    ignored = start_request(training={name: 1}).ignored
    assert ignored == [f"config.training.{name}"]


_MODEL = {"model": {"name": "m"}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"training": {}}, "config: field required (training should be in it)"),
        ({"training": {}, **_MODEL}, "config: field required (training and model should be in it)"),
        ({"conf": _MODEL}, "config: field required (did you write it as conf?)"),
        ({"config": None}, "config: field required"),
        ({"config": []}, "config: should be an object, not a list"),
        ({"config": {"name": "m"}}, "config.model: field required (name should be in it)"),
        ({"config": {"modle": {}}}, "config.model: field required (did you write it as modle?)"),
        (
            {"config": {"model": {"nam": "m"}}},
            "config.model.name: field required (did you write it as nam?)",
        ),
        (
            {"config": _MODEL, "dataset_path": None, "dataset": "a"},
            "dataset_path: required where there is no dataset_content and no datasets "
            "(did you write it as dataset?)",
        ),
        (
            {"config": _MODEL, "job_token": None, "token": "t"},
            "job_token: required: without it no report of this job could reach the backend "
            "(did you write it as token?)",
        ),
    ],
)
def test_what_is_missing_may_stand_beside_its_place(body: dict[str, Any], said: str) -> None:
    given = {"dataset_path": "a", "job_token": "t", **body}
    with pytest.raises(RequestInvalid) as refused:
        parse_request(
            {name: value for name, value in given.items() if name != "job_token" or value}
        )
    assert str(refused.value) == said
