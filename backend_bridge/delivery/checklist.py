"""Checklist of a backend: one of each message to a row that was made for it, and what it answers.

    python -m backend_bridge.delivery.checklist URL JOB      the job's token comes by standard input

It prints a JSON list of findings. `trainyard doctor --backend` runs it. The answers are read as a
courier reads them.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from backend_bridge.delivery.backend_client import (
    AccessRefused,
    Answer,
    BackendClient,
    Delivered,
    Refused,
    RouteMissing,
    TryAgain,
)
from backend_bridge.delivery.messages import BackendMessage
from trainyard.contract.backend_routes import ROUTES, WITHOUT, Endpoint
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.contract.statuses import JobStatus
from trainyard.local.diagnosis.finding import Finding
from trainyard.store.delivery_state import BODY_BYTES_MAX

_STAMP = "[2026-01-01 00:00:00] "
_LONG = _STAMP + "x" * (BODY_BYTES_MAX // LOG_LINES_PER_BATCH - len(_STAMP) - len('"", '))
_POINT = {"step": 1, "epoch": 0, "train_loss": 1.5, "learning_rate": 0.001}
_EVAL = {"step": 2, "eval_loss": 1.25, "perplexity": 3.5, "eval_perplexity": 3.5}
_REPORTS: tuple[tuple[Endpoint, str, Mapping[str, Any]], ...] = (
    ("metrics", "a point", _POINT),
    ("metrics", "a point of an eval", _POINT | _EVAL),
    ("logs", "a line", {"logs": [f"{_STAMP}one line, with € and \N{WASTEBASKET}"]}),
    ("logs", "100 lines, 64 KiB", {"logs": [_LONG] * LOG_LINES_PER_BATCH}),
)
_PREDICTION = {"epoch": 0, "step": 4, "sample_index": 0, "prompt": "2+2?", "prediction": "4"}
_STATUSES = (JobStatus.PAUSED, JobStatus.RUNNING, JobStatus.COMPLETED)
_MENDS: dict[type[Answer], str] = {
    TryAgain: "Answer 200 with JSON: a courier would send this again and again.",
    RouteMissing: "Add the route.",
    AccessRefused: "Make the row first, with this token; a route that is missing answers so too.",
    Refused: "A courier would set this message aside.",
}
_MEND_413 = "Take bodies of 64 KiB: a courier halves log lines, and sets the rest aside."


def check_backend(client: BackendClient, job_id: str, token: SecretStr) -> Iterator[Finding]:
    """Every check, in the order of a short job that completes."""
    keys = (f"{job_id}:check-{time.time_ns()}:{number}" for number in itertools.count())

    def post(endpoint: Endpoint, body: Mapping[str, Any], token: SecretStr = token) -> Answer:
        return client.post(job_id, token, BackendMessage(endpoint, next(keys), body))

    running = {"status": "running"}
    first = post("status", running)
    yield _required("status", "running", first)
    if not isinstance(first, AccessRefused):
        wrong = SecretStr(token.get_secret_value()[::-1] + "-wrong")
        yield _wrong_token(post("status", running, wrong))
    for endpoint, what, body in _REPORTS:
        yield _required(endpoint, what, post(endpoint, body))
    many = [_POINT | {"step": step} for step in (3, 4)]
    yield _may_lack("points", post("points", {"job_id": job_id, "metrics": many}))
    said = {"job_id": job_id, "predictions": [{"job_id": job_id} | _PREDICTION]}
    yield _may_lack("predictions", post("predictions", said))
    for name in _STATUSES:
        yield _required("status", name, post("status", {"status": name}))


def _required(endpoint: Endpoint, what: str, answer: Answer) -> Finding:
    route = ROUTES[endpoint]
    if isinstance(answer, Delivered):
        return Finding(endpoint, "ok", f"{route} takes {what}.")
    reason = "HTTP 405" if isinstance(answer, RouteMissing) else answer.reason
    sentence = f"{route} does not take {what}: {reason}."
    too_large = isinstance(answer, Refused) and answer.http_status == 413
    return Finding(endpoint, "failure", sentence, _MEND_413 if too_large else _MENDS[type(answer)])


def _may_lack(endpoint: Endpoint, answer: Answer) -> Finding:
    route = ROUTES[endpoint]
    match answer:
        case Delivered():
            return Finding(endpoint, "ok", f"{route} is there.")
        case AccessRefused() | RouteMissing():
            return Finding(endpoint, "ok", f"{route} is missing, as it may: {WITHOUT[route]}.")
    mend = "Answer 404 or 405 if it is not meant to be there."
    return Finding(endpoint, "warning", f"{route} answers: {answer.reason}.", mend)


def _wrong_token(answer: Answer) -> Finding:
    if isinstance(answer, Delivered):
        mend = "Compare the bearer token with the row's: anybody could report on any job."
        return Finding("token", "warning", "A wrong token is taken.", mend)
    return Finding("token", "ok", "A wrong token is refused.")


def main() -> int:
    """0 if nothing that is required fails, 1 otherwise, 2 for a wrong address."""
    url, job_id = sys.argv[1:]
    try:
        with BackendClient(url) as client:
            found = list(check_backend(client, job_id, SecretStr(sys.stdin.read().strip())))
    except ValueError as error:
        print(str(error).replace("BACKEND_URL", "--backend"), file=sys.stderr)
        return 2
    print(json.dumps([one.as_dict() for one in found]))
    return int(any(one.level == "failure" for one in found))


if __name__ == "__main__":
    sys.exit(main())
