"""OpenAPI document of the bridge: what FastAPI finds in the routes, and the bodies that they parse.

The routes read their bodies themselves, so that a request may come in any of its spellings; their
schemas are added here.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from backend_bridge.api.request_body import CancelBody, ResumeBody
from trainyard.contract.fields.secret_fields import VISIBLE_ASCII
from trainyard.contract.request import StartRequest

_REF = "#/components/schemas/{model}"
_INTERNAL = ("ignored", "notes")
"""Fields of a StartRequest that the parser writes."""


def json_request(schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    """``openapi_extra`` of a route with a JSON body."""
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}
    }


def _optional(model: type[BaseModel]) -> dict[str, Any]:
    return {"anyOf": [{"$ref": _REF.format(model=model.__name__)}, {"type": "null"}]}


START_BODY = json_request({"$ref": _REF.format(model="StartRequest")}, required=True)
CANCEL_BODY = json_request(_optional(CancelBody), required=False)
RESUME_BODY = json_request(_optional(ResumeBody), required=False)


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, with every schema that it names."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        description="What a backend calls on Trainyard. Every error is one sentence, under "
        "`error`, `message` and `detail`.",
        routes=app.routes,
    )
    bodies = [(model, "validation") for model in (StartRequest, CancelBody, ResumeBody)]
    _, definitions = models_json_schema(bodies, ref_template=_REF)  # type: ignore[arg-type]
    schemas = definitions["$defs"]
    _describe_admission(schemas)
    made["components"]["schemas"] = {**schemas, **made["components"]["schemas"]}
    key = {"type": "http", "scheme": "bearer", "description": "BRIDGE_API_KEY, if one is set"}
    made["components"]["securitySchemes"] = {"key": key}
    made["security"] = [{"key": []}, {}]
    return made


def _describe_admission(schemas: dict[str, Any]) -> None:
    """What the parser and the admission ask for beyond the models."""
    start = schemas["StartRequest"]
    for name in _INTERNAL:
        del start["properties"][name]
    start["properties"]["job_token"] |= {"minLength": 1, "pattern": f"^{VISIBLE_ASCII}$"}
    start["anyOf"] = [
        {"required": [name], "properties": {name: {"type": "string", "minLength": 1}}}
        for name in ("dataset_path", "dataset_content")
    ]
