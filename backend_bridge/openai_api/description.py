"""OpenAPI document of what is taken below ``/v1``: OpenAI's API, as far as it is spoken here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from backend_bridge.api.openapi import BINARY, EVENT_STREAM_CONTENT
from backend_bridge.openai_api.asked import CreateJob
from backend_bridge.openai_api.chat.asked import ChatBody
from backend_bridge.openai_api.errors import PREFIX
from trainyard import __version__

_REF = "#/components/schemas/{model}"
_BODIES = {"create": CreateJob, "complete": ChatBody}
"""Bodies that the routes read themselves, by the route's name."""
_UPLOAD = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["fine-tune"]},
    },
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(routers: Sequence[APIRouter]) -> dict[str, Any]:
    """The document of those routes. What each answers in detail, OpenAI's own description says."""
    app = FastAPI()
    for router in routers:
        app.include_router(router, prefix=PREFIX)
    made = get_openapi(
        title="Trainyard: OpenAI's API",
        version=__version__,
        description="Fine-tuning, files, models and chat completions, for OpenAI's own clients.",
        routes=app.routes,
    )
    models = [(model, "validation") for model in _BODIES.values()]
    _, definitions = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
    for path in made["paths"].values():
        for operation in path.values():
            _describe(operation)
    key = {"type": "http", "scheme": "bearer", "description": "BRIDGE_API_KEY, if one is set"}
    made["components"] = {
        "schemas": {**definitions["$defs"], "Error": _ERROR},
        "securitySchemes": {"key": key},
    }
    made["security"] = [{"key": []}, {}]
    return made


def _describe(operation: dict[str, Any]) -> None:
    name = operation["operationId"].partition("_v1_")[0]
    operation["operationId"] = name
    responses = operation["responses"]
    responses.pop("422", None)  # such a refusal is a 400 here
    error = {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}
    for status in ("4XX", "5XX"):
        responses[status] = {"description": "Refused, or not possible", "content": error}
    if name in _BODIES:
        schema = {"$ref": _REF.format(model=_BODIES[name].__name__)}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    if name == "upload":
        operation["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": {"schema": _UPLOAD}},
        }
    if name == "content":
        file = {"schema": {"type": "string", "format": "binary"}}
        responses["200"]["content"] = {BINARY: file, "text/csv": file}
    if name == "complete":
        answer = {"application/json": {"schema": {"type": "object"}}}
        responses["200"]["content"] = {**answer, **EVENT_STREAM_CONTENT}
