"""JSON of a request: decoded if it holds no more values than a request needs.

A decoded value takes up to thirty times the bytes that it was sent in. Rows come within one string,
``dataset_content``, so that everything else of a request is small.
"""

from __future__ import annotations

import json
from typing import Any

from trainyard.contract.request import FieldProblem, RequestInvalid

VALUES_MAX = 20_000
"""Of everything but ``dataset_content``: a name with its value counts once."""
_TOO_MANY = f"holds more than {VALUES_MAX:,} values: send rows as the text of dataset_content"


def loads(body: str | bytes | bytearray) -> Any:
    """What ``body`` says. Raises ValueError, RecursionError, and RequestInvalid for too much."""
    encoded = body.encode(errors="surrogatepass") if isinstance(body, str) else bytes(body)
    if holds_too_much(encoded):
        raise RequestInvalid([FieldProblem(path="body", message=_TOO_MANY)])
    return json.loads(encoded)


def holds_too_much(body: bytes) -> bool:
    """Whether ``body``, if it is JSON, holds more than VALUES_MAX values. Linear, and sparing."""
    if _marks(body) <= VALUES_MAX:
        return False
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    values = strings = at = 0
    while values <= VALUES_MAX and strings <= 3 * VALUES_MAX:
        start = body.find(b'"', at)
        if start < 0:
            return values + _marks(body[at:]) > VALUES_MAX
        values += _marks(body[at:start])
        at = body.find(b'"', start + 1) + 1
        strings += 1
        if not at:
            return False  # no JSON
    return True


def _marks(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")
