"""Request that a person writes: a YAML or JSON file, flags, or a file with flags on top.

Exceptions:

    RequestFileError        the file or a flag cannot be read; the text says which, and the mend
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from trainyard.contract.config import JobConfig
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.request import StartRequest

DATA_FIELDS = ("dataset_path", "dataset_content", "datasets")
"""Of which a request has one."""
_WEIGHED = re.compile(r"(?![^/]*://(?:[^/]*$|.*[?#]))(.+):(-?\d+(?:\.\d+)?)")
"""A number after a host is its port, and one in the query of a URL is a part of that."""


class RequestFileError(TrainyardError):
    """A file or a flag that is no part of a request."""


def read_request(text: str, name: str) -> dict[str, Any]:
    """The request in a file; JSON is read as JSON, whatever the file is called."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as no_json:
        if name.endswith((".jsonl", ".ndjson")):
            raise RequestFileError(
                f"{name} holds rows, and no request", "give it as --dataset, with --model"
            ) from None
        if name.endswith(".json") or text.lstrip()[:1] in ("{", "["):
            raise RequestFileError(f"{name} is no JSON: {_where(no_json)}") from None
        try:
            body = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError) as no_yaml:
            raise RequestFileError(f"{name} is neither JSON nor YAML: {_where(no_yaml)}") from None
    if not isinstance(body, dict):
        raise RequestFileError(f"{name} holds no request: it should be an object with a 'config'")
    return body


def with_flags(
    body: Mapping[str, Any], flags: Mapping[str, Any], assignments: Iterable[str]
) -> dict[str, Any]:
    """``body`` with ``flags`` (dotted path → value; None: not given) and ``path=value`` on top.

    The value of an assignment is read as YAML, so ``3`` is a number and ``true`` a truth value; a
    field of ``config`` may be named as in a sweep, ``training.batch_size``. A job id is made if
    there is none.
    """
    made = _as_json(body)
    for path, value in flags.items():
        if value is not None:
            _put(made, path, value)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not all(path.split(".")):
            raise RequestFileError(f"--set {assignment}: write path=value, config.seed=7 for one")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            value = text
        section = path.partition(".")[0]
        is_of_config = (
            section in JobConfig.model_fields and section not in StartRequest.model_fields
        )
        _put(made, f"config.{path}" if is_of_config else path, value)
    made = _as_json(made)
    if made.get("execution_id") is None:
        made["execution_id"] = f"job-{secrets.token_hex(4)}"
    request: dict[str, Any] = made
    return request


def data_set(typed: str) -> dict[str, Any]:
    """One of ``datasets``: a path, with a weight after a colon if no file is called so."""
    found = _WEIGHED.fullmatch(typed)
    # Of os.path: a name that is too long, or of no user, is none that is here, and no error.
    if found is None or os.path.exists(os.path.expanduser(typed)):  # noqa: PTH110, PTH111
        return {"path": typed}
    return {"path": found[1], "weight": float(found[2])}


def with_data(body: Mapping[str, Any], typed: Sequence[str]) -> dict[str, Any]:
    """``body`` with what is typed for the data that trains, if anything: one path, or several."""
    if not typed:
        return dict(body)
    sets = [data_set(one) for one in typed]
    only = len(sets) == 1 and "weight" not in sets[0]
    others = {name: value for name, value in body.items() if name not in DATA_FIELDS}
    return {**others, **({"dataset_path": typed[0]} if only else {"datasets": sets})}


def _where(error: Exception) -> str:
    """What is wrong, in one sentence; of YAML with its line and column."""
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, RecursionError):
        return "it is nested too deep, or holds itself"
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', error)}"


def _as_json(body: Mapping[str, Any]) -> Any:
    """A copy in the values that JSON has; dates become text."""
    try:
        _refuse_infinite(body, ())
        return json.loads(json.dumps(body, default=str))
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestFileError(f"the request cannot be written as JSON: {_where(error)}") from None


def _refuse_infinite(value: Any, path: tuple[str, ...]) -> None:
    """JSON has neither infinity nor NaN; what would send them names no field."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestFileError(f"{'.'.join(path)}: should be a finite number")
    inner = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, Mapping) else inner:
        _refuse_infinite(item, (*path, str(key)))


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        body = body.setdefault(section, {})
        if not isinstance(body, dict):
            raise RequestFileError(f"{path}: {section} is no object in the file")
    body[name] = value
