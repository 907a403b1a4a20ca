"""Submission of a job from this machine: checked here, told to the development backend, started.

What the bridge would refuse is refused before a row is made for it, and a row that was made for a
job that was refused after all is taken away again.

Exceptions:

    UnknownFields           fields of the request that mean nothing, each with what may be meant
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.client import BridgeClient, BridgeError
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.fields.sweep import is_sweep, member_bodies, parse_sweep
from trainyard.contract.parser import parse_request
from trainyard.contract.request import FieldProblem, RequestInvalid, StartRequest
from trainyard.contract.rules import problems
from trainyard.local.backend_row import BackendError, create_row, delete_row
from trainyard.local.typed_paths import PathRefused, Place, named_for_worker, refuse_missing
from trainyard.settings import Settings


class UnknownFields(TrainyardError):
    """Fields that mean nothing to this version."""


@dataclass(frozen=True)
class Submitted:
    """The bridge's answer, and why the development backend does not know the job, if so."""

    answer: dict[str, Any]
    unknown_there: str | None = None


def prepare(
    body: Mapping[str, Any], current: Settings, *, allow_unknown: bool = False
) -> dict[str, Any]:
    """The request as it is sent: paths as the worker finds them, with a token if one can be made.

    Raises RequestInvalid with every wrong field; PathRefused or UnknownFields for one alone.
    """
    made = dict(body)
    if made.get("job_token") is None and current.has_development_backend:
        made["job_token"] = secrets.token_urlsafe(32)
    refused = dict[str, TrainyardError]()
    if _is_yard_of_this_machine(current):
        refused |= _name_paths(made, current)
    wrong = list[FieldProblem]()
    try:
        request = _checked(made, current)
    except RequestInvalid as error:
        wrong = error.problems
    else:
        if request.ignored and not allow_unknown:
            refused["body"] = UnknownFields(
                f"fields that mean nothing: {'; '.join(request.ignored)}.", "Mend or remove them."
            )
    if len(refused) == 1 and not wrong:
        raise next(iter(refused.values()))
    told = [FieldProblem(path=p, message=str(why).removesuffix(".")) for p, why in refused.items()]
    if told or wrong:
        raise RequestInvalid([*told, *wrong])
    return made


def start(bridge: BridgeClient, current: Settings, body: Mapping[str, Any]) -> Submitted:
    """Start a prepared request. Raises BridgeError; no row is left then."""
    unknown_there, made = None, list[str]()
    if current.has_development_backend:
        try:
            for job in jobs_of(body, current):
                if create_row(current.backend_url, job):
                    made.append(job["execution_id"])
        except BackendError as error:
            unknown_there = str(error)
    try:
        return Submitted(bridge.start(dict(body)), unknown_there)
    except BridgeError:
        for job_id in made:
            delete_row(current.backend_url, job_id)
        raise


def jobs_of(body: Mapping[str, Any], current: Settings) -> list[dict[str, Any]]:
    """The body of each job that a prepared request makes."""
    if not is_sweep(body):
        return [dict(body)]
    names = [request.name for request in parse_sweep(body, current.max_sweep_jobs)]
    members = member_bodies(body, current.max_sweep_jobs)
    return [{**job, "name": name} for job, name in zip(members, names, strict=True)]


def _checked(body: Mapping[str, Any], current: Settings) -> StartRequest:
    """The request, of a sweep that of its first job. Raises RequestInvalid."""
    if is_sweep(body):
        return parse_sweep(body, current.max_sweep_jobs, _wrong)[0]
    request = parse_request(body)
    if found := _wrong(request):
        raise RequestInvalid(found)
    return request


def _wrong(request: StartRequest) -> list[FieldProblem]:
    return problems(request.config, gpu=None)


def _is_yard_of_this_machine(current: Settings) -> bool:
    """Whether the workers see what these settings name; else they may be elsewhere."""
    return current.redis_url is None and current.embedded_redis_url_file.exists()


def _name_paths(body: dict[str, Any], current: Settings) -> dict[str, PathRefused]:
    """Put each path as the worker finds it. Returns those that no worker could, by field."""
    refused = dict[str, PathRefused]()

    def found(typed: str, place: Place, field: str) -> str:
        try:
            name = named_for_worker(typed, place)
            refuse_missing(name, place)
        except PathRefused as error:
            refused[field] = error
            return typed
        return name

    def found_all(several: list[Any], field: str) -> dict[str, Any]:
        paths = [one.get("path") if isinstance(one, Mapping) else None for one in several]
        named = [
            {**one, "path": found(path, datasets, f"{field}.{n}.path")}
            if isinstance(path, str) and path
            else one
            for n, (one, path) in enumerate(zip(several, paths, strict=True))
        ]
        return {"datasets": named}

    datasets = Place("data set", "DATASET_ROOTS", current.dataset_roots)
    for field in ("dataset_path", "eval_dataset_path"):
        dataset, sent = body.get(field), field == "dataset_path" and body.get("dataset_content")
        if isinstance(dataset, str) and dataset and not sent:
            body[field] = found(dataset, datasets, field)
    config = body.get("config")
    evaluates = config.get("eval_dataset_path") if isinstance(config, Mapping) else None
    if isinstance(evaluates, str) and evaluates:
        path = found(evaluates, datasets, "config.eval_dataset_path")
        body["config"] = config = {**config, "eval_dataset_path": path}  # type: ignore[dict-item]
    if isinstance(config, Mapping) and isinstance(config.get("datasets"), list):
        body["config"] = config = {**config, **found_all(config["datasets"], "config.datasets")}
    if isinstance(body.get("datasets"), list):
        body |= found_all(body["datasets"], "datasets")
    model = config.get("model") if isinstance(config, Mapping) else None
    name = model.get("name") if isinstance(model, Mapping) else None
    if isinstance(name, str) and name:
        models = Place("model", "MODEL_ROOTS", current.model_roots, bare_at_hub=True)
        name = found(name, models, "config.model.name")
        body["config"] = {**config, "model": {**model, "name": name}}  # type: ignore[dict-item]
    return refused
