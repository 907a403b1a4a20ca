"""The request that a person writes: a YAML or JSON file, flags, or a file with flags on top.

Exceptions:

    RequestFileError        the file or a flag cannot be read; the text says which, and the mend
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import yaml


class RequestFileError(Exception):
    """A file or a flag that is no part of a request."""


def read_request(text: str, name: str) -> dict[str, Any]:
    """The request in a file; JSON is read as JSON, whatever the file is called."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as no_json:
        if name.endswith(".json") or text.lstrip()[:1] in ("{", "["):
            raise RequestFileError(f"{name} is no JSON: {no_json}") from None
        try:
            body = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError) as no_yaml:
            sentence = " ".join(str(no_yaml).split())
            raise RequestFileError(f"{name} is neither JSON nor YAML: {sentence}") from None
    if not isinstance(body, dict):
        raise RequestFileError(f"{name} holds no request: it should be an object with a 'config'")
    return body


def with_flags(
    body: Mapping[str, Any], flags: Mapping[str, Any], assignments: Iterable[str]
) -> dict[str, Any]:
    """``body`` with ``flags`` (dotted path → value; None: not given) and ``path=value`` on top.

    The value of an assignment is read as YAML, so ``3`` is a number and ``true`` a truth value. A
    job id is made where there is none.
    """
    made = json.loads(json.dumps(body, default=str))
    for path, value in flags.items():
        if value is not None:
            _put(made, path, value)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise RequestFileError(f"--set {assignment}: write path=value, config.seed=7 for one")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        _put(made, path, value)
    if made.get("execution_id") is None:
        made["execution_id"] = f"job-{secrets.token_hex(4)}"
    request: dict[str, Any] = made
    return request


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        body = body.setdefault(section, {})
        if not isinstance(body, dict):
            raise RequestFileError(f"{path}: {section} is no object in the file")
    body[name] = value
