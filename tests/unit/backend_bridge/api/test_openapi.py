"""The bridge's OpenAPI document: the forms that generators of clients ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backend_bridge.server import make_app
from trainyard.contract.events import Metric
from trainyard.settings import read_settings

SCHEMA = "#/components/schemas/"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return make_app(read_settings(redis_url="redis://127.0.0.1")).openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [each for path in document["paths"].values() for each in path.values()]
    return {each["operationId"]: each for each in found}


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document that is no list of properties by name."""
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict):
        yield value
    for child in children if isinstance(children, list) or isinstance(value, dict) else ():
        if isinstance(child, dict | list):
            yield from objects(child)


def test_what_may_be_left_out_has_no_default(document: dict[str, Any]) -> None:
    assert not [each for each in objects(document) if "default" in each]
    start = document["components"]["schemas"]["StartRequest"]
    assert sorted(start["required"]) == ["config", "execution_id", "job_token"]
    training = document["components"]["schemas"]["TrainingConfig"]
    assert "required" not in training
    assert training["properties"]["batch_size"]["description"] == "By default 4."


def test_no_type_is_one_of_several(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert not [name for name, s in schemas.items() if {"anyOf", "oneOf", "allOf"} & s.keys()]


def test_bodies_are_references(document: dict[str, Any]) -> None:
    bodies = {
        name: (o["requestBody"]["required"], o["requestBody"]["content"]["application/json"])
        for name, o in operations(document).items()
        if "requestBody" in o
    }
    assert bodies == {
        "execute": (True, {"schema": {"$ref": f"{SCHEMA}StartRequest"}}),
        "cancel": (False, {"schema": {"$ref": f"{SCHEMA}CancelBody"}}),
        "resume": (False, {"schema": {"$ref": f"{SCHEMA}ResumeBody"}}),
        "generate": (True, {"schema": {"$ref": f"{SCHEMA}GenerateBody"}}),
    }


def test_operations_are_called_by_one_short_name(document: dict[str, Any]) -> None:
    names = """health live ready prometheus execute status logs metrics errors jobs queue group
    pause resume cancel force_start remove checkpoints download_model download_logs generate usage
    """
    assert operations(document).keys() == set(names.split())


def test_every_answer_has_a_schema(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        for status, answer in operation["responses"].items():
            ((media, content),) = answer["content"].items()
            assert content["schema"], (name, status, media)


def test_a_metric_point_has_the_fields_that_the_backend_gets(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    points = schemas["MetricsAnswer"]["properties"]["metrics"]
    assert points["items"] == {"$ref": f"{SCHEMA}MetricPoint"}
    types = {name: f["type"] for name, f in schemas["MetricPoint"]["properties"].items()}
    values = dict.fromkeys(Metric.model_fields.keys() - {"event", "step"}, 1.5)
    sent = Metric(step=1, **values).to_backend()
    names = {int: "integer", float: "number"}
    assert types == {name: names[type(value)] for name, value in sent.items()}


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("health", "200 403 405 500 503"),
        ("jobs", "200 401 403 405 422 500 503"),
        ("status", "200 401 403 404 405 500 503"),
        ("logs", "200 401 403 404 405 422 500 503"),
        ("pause", "200 401 403 404 405 409 500 503"),
        ("resume", "200 400 401 403 404 405 409 413 422 500 503"),
        ("execute", "200 400 401 403 405 409 413 422 500 503"),
        ("download_model", "200 401 403 404 405 409 422 500 503"),
    ],
)
def test_refusals_stand_only_where_they_can_happen(
    document: dict[str, Any], name: str, statuses: str
) -> None:
    assert sorted(operations(document)[name]["responses"]) == statuses.split()
