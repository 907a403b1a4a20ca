"""Parser of start requests: any of their spellings into the contract's models.

Whatever comes in, :func:`parse_request` returns a StartRequest or raises RequestInvalid with every
wrong field, as the caller spelled it. No secret passes into what is stored or said.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from trainyard.contract.config import LoraConfig
from trainyard.contract.fields.clean_urls import clean_url
from trainyard.contract.fields.secret_fields import (
    PROBLEMS_MAX,
    VISIBLE_ASCII,
    Copier,
    TooMuch,
    own_secrets,
)
from trainyard.contract.fields.spellings import SPELLINGS, Normaliser, dotted
from trainyard.contract.fields.suggestions import ignored_fields, written_instead
from trainyard.contract.names import JOB_ID_RULE
from trainyard.contract.request import FieldProblem, RequestInvalid, StartRequest

_SHOWN_CHARACTERS = 50
"""Of a value that is refused. It is the copy's, without the request's tokens."""
_WANTED = {
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "a text",
    "list_type": "a list",
    **dict.fromkeys(("dict_type", "model_type"), "an object"),
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "timezone_aware"),
        "a time with its zone, such as 2026-01-31T12:00:00Z",
    ),
}
"""By pydantic's type of an error, whose words are those of its parser."""

_EITHER: dict[tuple[str, ...], str] = {
    ("config", "lora", "target_modules"): "a name or a list of names",
    ("config", "training", "optim_args"): "an object or a text",
    ("config", "training", "use_liger_kernel"): "true, false or 'auto'",
}
"""Of fields of several types, of each of which pydantic tells what is wrong."""


def _problems(
    error: ValidationError,
    spelled: Mapping[tuple[str, ...], tuple[str, ...]],
    body: Mapping[str, Any],
) -> Iterator[FieldProblem]:
    for item in error.errors(include_url=False, include_context=False):
        loc = tuple(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
        missing = item["type"] == "missing" or (loc == ("config",) and body.get("config") is None)
        if missing:
            message = "field required"
        elif wanted := _WANTED.get(item["type"]):
            message = f"should be {wanted}, not {_shown(item['input'])}"
        if loc[:3] in _EITHER:
            loc, message = loc[:3], f"should be {_EITHER[loc[:3]]}"
        if loc[:1] == ("config",) and loc[1:3] in spelled:
            loc = ("config", *spelled[loc[1:3]], *loc[3:])
        if loc == ("execution_id",):
            message = JOB_ID_RULE
        elif loc == ("job_token",):
            message = "required: without it no report of this job could reach the backend"
        if missing:
            message += written_instead(body, loc)
        yield FieldProblem(path=dotted(loc), message=message[:1].lower() + message[1:])


def _shown(value: Any) -> str:
    if isinstance(value, str):
        more = "..." if len(value) > _SHOWN_CHARACTERS else ""
        return repr(value[:_SHOWN_CHARACTERS] + more)
    if isinstance(value, list | Mapping):
        return "a list" if isinstance(value, list) else "an object"
    return "a number" if type(value) is int else json.dumps(value, default=str)


def _distinct(problems: list[FieldProblem]) -> list[FieldProblem]:
    """The first problem of each field, and no more of them than a person can read."""
    distinct = list({p.path: p for p in reversed(problems)}.values())[::-1]
    if len(distinct) > PROBLEMS_MAX:
        more = f"{len(distinct) - PROBLEMS_MAX} more fields are wrong"
        distinct[PROBLEMS_MAX:] = [FieldProblem(path="body", message=more)]
    return distinct


def _with_their_secrets(body: Mapping[Any, Any]) -> str | None:
    """The data sets' URLs, a line each, of which what may be stored gives no access any more."""
    config = body.get("config")
    within = config if isinstance(config, Mapping) else {}
    paths = [body.get("dataset_path") or within.get("dataset_path")]
    paths += [path for _, path in _paths_of_several(body)]
    urls = (path for path in paths if isinstance(path, str) and clean_url(path) != path)
    return "\n".join(dict.fromkeys(urls)) or None


def _paths_of_several(body: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Where each of ``datasets`` names what it reads, and what."""
    config = body.get("config")
    for prefix, holder in (("", body), ("config.", config)):
        several = holder.get("datasets") if isinstance(holder, Mapping) else None
        for place, one in enumerate(several if isinstance(several, list) else ()):
            path = one.get("path") if isinstance(one, Mapping) else None
            if isinstance(path, str):
                yield f"{prefix}datasets.{place}.path", path


def _one_name(body: Mapping[Any, Any]) -> Iterator[FieldProblem]:
    """URLs that differ only in what is not stored of them: one would be read for both."""
    known = dict[str, tuple[str, str]]()
    for place, path in _paths_of_several(body):
        before, url = known.setdefault(clean_url(path), (place, path))
        if url != path:
            yield FieldProblem(
                path=place,
                message=f"differs from {before} only in what may be a secret, which is not stored: "
                "the two could not be told apart; put the files below DATASET_ROOTS",
            )


def _one_source(raw: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[FieldProblem]:
    """Exactly one of the fields that say what trains; the content wins over a path."""
    within = raw["config"] if isinstance(raw["config"], Mapping) else {}
    given = [name for name in ("dataset_path", "dataset_content", "datasets") if raw.get(name)]
    given += [f"config.{name}" for name in ("dataset_path", "datasets") if within.get(name)]
    several = next((name for name in given if name.endswith("datasets")), None)
    if not given:
        message = "required where there is no dataset_content and no datasets"
        message += written_instead(body, ("dataset_path",))
        yield FieldProblem(path="dataset_path", message=message)
    elif several and len(given) > 1:
        others = " and ".join(name for name in given if name != several)
        yield FieldProblem(
            path=several,
            message=f"should be given alone, without {others}: name all that trains in it",
        )


def _secret_of_eval(body: Mapping[Any, Any]) -> Iterator[FieldProblem]:
    """Secrets of URLs go to the training beside the request, but only of what trains."""
    config = body.get("config")
    for path, holder in (("", body), ("config.", config)):
        given = holder.get("eval_dataset_path") if isinstance(holder, Mapping) else None
        if isinstance(given, str) and clean_url(given) != given:
            yield FieldProblem(
                path=f"{path}eval_dataset_path",
                message="should be a URL without user, password or signature: the worker's own "
                "tokens fetch it, or put the file below DATASET_ROOTS",
            )


def _own_of_the_adapter(lora: LoraConfig | None, spelled: Any) -> Iterator[FieldProblem]:
    """What was sent beside ``adapter: continue``. Later nobody can tell it from defaults."""
    if lora is None or lora.adapter != "continue":
        return
    for name in type(lora).model_fields:
        if name in lora.model_fields_set - {"adapter", "task_type"}:
            path = spelled.get(("lora", name), ("lora", name))
            yield FieldProblem(
                path=dotted(("config", *path)),
                message="the adapter that is trained on has its own: leave it out, or send "
                "config.lora.adapter 'new'",
            )


def _set_defaults(raw: dict[str, Any]) -> None:
    """Of what null means too, or another field."""
    if raw.get("execution_id") is None:
        raw["execution_id"] = f"job-{secrets.token_hex(8)}"
    if raw.get("slip_in") is None:
        raw["slip_in"] = False
    if raw["slip_in"] is True and raw.get("priority") is None:
        raw["priority"] = 0
    for name in ("dataset_path", "eval_dataset_path"):
        if raw.get(name) is None:
            raw[name] = ""


def parse_request(body: Any) -> StartRequest:
    """Read a start request in any of its spellings.

    ``body`` is the decoded JSON of ``POST /api/training/execute``; it is not changed. Where it
    names no ``execution_id``, one is made. Raises RequestInvalid with every wrong field.
    """
    if not isinstance(body, Mapping):
        raise RequestInvalid([FieldProblem(path="body", message="should be a JSON object")])
    copier = Copier(own_secrets(body))
    try:
        raw = copier.copy(body)
    except TooMuch:
        raise RequestInvalid(copier.problems[-PROBLEMS_MAX - 1 :]) from None
    raw.setdefault("config", None)
    normaliser = Normaliser(raw["config"] if isinstance(raw["config"], dict) else {})
    normaliser.run()
    raw["ignored"], raw["notes"], raw["group"] = [], [], None
    raw["whole_dataset_path"] = _with_their_secrets(body)
    _set_defaults(raw)

    problems = [*copier.problems, *normaliser.problems, *_secret_of_eval(body), *_one_name(body)]
    request = None
    try:
        request = StartRequest.model_validate(raw)
    except ValidationError as error:
        problems.extend(_problems(error, normaliser.spelled, body))
    else:
        problems.extend(_own_of_the_adapter(request.config.lora, normaliser.spelled))
    token = raw.get("job_token")
    if isinstance(token, str) and not re.fullmatch(VISIBLE_ASCII, token):
        message = "should be visible ASCII, without spaces" if token else "should not be empty"
        problems.append(FieldProblem(path="job_token", message=message))
    problems.extend(_one_source(raw, body))
    if raw.get("sweep") is not None:
        message = "is read where jobs are submitted: this is about one of them, leave it out"
        problems.append(FieldProblem(path="sweep", message=message))
    if problems or request is None:
        raise RequestInvalid(_distinct(problems))

    request.ignored = ignored_fields(request, [given for given, _ in SPELLINGS]) + copier.dropped
    request.notes = normaliser.notes
    if not request.dataset_path and not request.dataset_content:
        request.dataset_path = request.config.dataset_path or ""
    request.datasets = request.datasets or request.config.datasets
    request.config.datasets = None
    request.eval_dataset_path = request.eval_dataset_path or request.config.eval_dataset_path or ""
    if request.config.lora is None and request.config.training.use_lora:
        request.config.lora = LoraConfig()
    return request
