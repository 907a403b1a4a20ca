"""OpenAPI document of the bridge: what FastAPI finds in the routes, and the bodies that they parse.

The routes read their bodies themselves, so that a request may come in any of its spellings; their
schemas are added here. Generators make clients of the document, so it says things in the form that
they understand: bodies are plain references, and what may be left out has no default, for which
some of them ask.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from backend_bridge.api.request_body import CancelBody, ResumeBody
from trainyard.contract.events import Metric
from trainyard.contract.fields.secret_fields import VISIBLE_ASCII
from trainyard.contract.generation.messages import GenerateBody
from trainyard.contract.request import StartRequest

_REF = "#/components/schemas/{model}"
_INTERNAL = ("ignored", "notes", "whole_dataset_path")
"""Fields of a StartRequest that the parser writes."""
_POINT = "MetricPoint"
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")
"""Schemas of the 422 that FastAPI adds to each route with parameters: the bridge's is another."""
BINARY = "application/octet-stream"
"""Of an archive: generators know no x-tar."""
BINARY_CONTENT = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
EVENT_STREAM = "text/event-stream"
EVENT_STREAM_CONTENT = {EVENT_STREAM: {"schema": {"type": "string"}}}
TEXT_CONTENT = {"text/plain": {"schema": {"type": "string"}}}


def operation_id(route: APIRoute) -> str:
    """The function's name: a generated client's method is called so."""
    return route.name


def _json_request(model: str, *, required: bool) -> dict[str, Any]:
    """``openapi_extra`` of a route with a JSON body."""
    content = {"application/json": {"schema": {"$ref": _REF.format(model=model)}}}
    return {"requestBody": {"required": required, "content": content}}


START_BODY = _json_request("StartRequest", required=True)
CANCEL_BODY = _json_request("CancelBody", required=False)
RESUME_BODY = _json_request("ResumeBody", required=False)
GENERATE_BODY = _json_request("GenerateBody", required=True)


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, with every schema that it names."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        description="What a backend calls on Trainyard. Every error is one sentence, under "
        "`error`, `message` and `detail`.",
        routes=app.routes,
    )
    models = (StartRequest, CancelBody, ResumeBody, GenerateBody)
    bodies = [(model, "validation") for model in models]
    _, definitions = models_json_schema(bodies, ref_template=_REF)  # type: ignore[arg-type]
    schemas = {**definitions["$defs"], **made["components"]["schemas"]}
    _describe_admission(schemas["StartRequest"])
    _describe_points(schemas)
    operations = [each for path in made["paths"].values() for each in path.values()]
    for field in (field for s in schemas.values() for field in s.get("properties", {}).values()):
        _say_default(field, field)
    for parameter in (each for o in operations for each in o.get("parameters", [])):
        _say_default(parameter, parameter["schema"])
    _drop_fastapis_own(operations, schemas)
    key = {"type": "http", "scheme": "bearer", "description": "BRIDGE_API_KEY, if one is set"}
    made["components"] = {"schemas": schemas, "securitySchemes": {"key": key}}
    made["security"] = [{"key": []}, {}]
    return made


def _describe_admission(start: dict[str, Any]) -> None:
    """What the parser and the admission ask for beyond the models."""
    for name in _INTERNAL:
        del start["properties"][name]
    start["properties"]["job_token"] |= {"minLength": 1, "pattern": f"^{VISIBLE_ASCII}$"}
    start["description"] = (
        "What a job is to do. It needs `dataset_path`, `dataset_content` or `datasets`, which no "
        "`anyOf` says: generators would make several types of it."
    )


def _describe_points(schemas: dict[str, Any]) -> None:
    """A point as ``Metric.to_backend`` makes it: what is not known is absent."""
    point = Metric.model_json_schema()
    del point["properties"]["event"], point["additionalProperties"]
    for name, field in point["properties"].items():
        known = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"}]
        point["properties"][name] = {**field, **(known[0] if known else {})}
    point["properties"]["epoch"]["type"] = "integer"
    schemas[_POINT] = {**point, "title": _POINT}
    schemas["MetricsAnswer"]["properties"]["metrics"]["items"] = {"$ref": _REF.format(model=_POINT)}


def _say_default(field: dict[str, Any], schema: dict[str, Any]) -> None:
    """Say the default of ``schema`` in the field's description: with ``default`` some generators
    require the field."""
    default = schema.pop("default", None)
    if default not in (None, "") and not isinstance(default, dict):
        said = f"By default {json.dumps(default)}."
        field["description"] = f"{field.get('description', '')} {said}".strip()


def _drop_fastapis_own(operations: list[dict[str, Any]], schemas: dict[str, Any]) -> None:
    ours = {"$ref": _REF.format(model="ErrorAnswer")}
    for operation in operations:
        wrong = operation["responses"].get("422", {}).get("content", {}).get("application/json")
        if wrong and wrong["schema"] != ours:
            del operation["responses"]["422"]
    for name in _FASTAPIS_OWN:
        schemas.pop(name, None)
