"""Flags of a sweep: ``training.learning_rate=1e-4,2e-4`` as the field of a request."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

import yaml

from trainyard.cli.request_file import RequestFileError


def with_sweep(body: dict[str, Any], written: Iterable[str]) -> dict[str, Any]:
    """``body`` with ``--sweep path=value,value`` on top; a sweep gets a name if it has none.

    Raises RequestFileError.
    """
    given, grid = body.get("sweep"), dict(map(_setting, written))
    if grid:
        body = {**body, "sweep": {**(given if isinstance(given, dict) else {}), **grid}}
    if body.get("sweep") is not None and body.get("execution_id") is None:
        body = {**body, "execution_id": f"sweep-{secrets.token_hex(4)}"}
    return body


def _setting(written: str) -> tuple[str, list[Any]]:
    path, equals, text = written.partition("=")
    try:
        values = yaml.safe_load(f"[{text}]") if equals else None
    except (yaml.YAMLError, ValueError, RecursionError):
        values = None
    if not path or not isinstance(values, list) or not values:
        raise RequestFileError(
            f"--sweep {written}: write path=value,value, training.learning_rate=1e-4,2e-4 for one"
        )
    return path.strip(), [_number(value) for value in values]


def _number(value: Any) -> Any:
    """YAML takes ``1e-4`` for a text: to it a number has a point."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
