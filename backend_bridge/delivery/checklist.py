"""Checklist of a backend: one of each message to a row that was made for it, and what it answers.

    python -m backend_bridge.delivery.checklist URL JOB      the job's token comes by standard input

It prints a JSON list of findings. `trainyard doctor --backend` runs it. The answers are read as a
courier reads them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import SecretStr

from backend_bridge.delivery.backend_client import (
    AccessRefused,
    Answer,
    BackendClient,
    Delivered,
    Refused,
    RouteMissing,
    TooLarge,
    TryAgain,
)
from trainyard.contract.backend_routes import ROUTES, WITHOUT, Endpoint
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.contract.statuses import JobStatus
from trainyard.local.diagnosis.finding import Finding
from trainyard.store.delivery_state import BODY_BYTES_MAX

_STAMP = "[2026-01-01 00:00:00] "
_POINT = {"step": 1, "epoch": 0, "train_loss": 1.5, "learning_rate": 0.001}
_MENDS: dict[type[Answer], str] = {
    TryAgain: "Answer 200 with JSON: a courier would send this again and again.",
    RouteMissing: "Add the route.",
    AccessRefused: "Make the row first, with this token; a route that is missing answers so too.",
    TooLarge: "Take bodies of 64 KiB: a courier halves log lines, and sets the rest aside.",
    Refused: "A courier would set this message aside.",
}


def check_backend(client: BackendClient, job_id: str, token: SecretStr) -> Iterator[Finding]:
    """Every check, in the order of a short job that completes."""
    unique = f"{job_id}:check-{time.time_ns()}"

    def key(what: str) -> str:
        return f"{unique}:{what}"

    def status(name: str) -> Answer:
        return client.patch_status(job_id, token, key(name), name)

    first = status("running")
    yield _required("status", "running", first)
    if not isinstance(first, AccessRefused):
        wrong = SecretStr(token.get_secret_value()[::-1] + "-wrong")
        yield _wrong_token(client.patch_status(job_id, wrong, key("wrong-token"), "running"))
    point = client.put_metric(job_id, token, key("point"), _POINT)
    yield _required("metrics", "a point", point)
    evaluated = {**_POINT, "step": 2, "eval_loss": 1.25, "perplexity": 3.5}
    yield _required(
        "metrics", "a point of an eval", client.put_metric(job_id, token, key("eval"), evaluated)
    )
    line = _STAMP + "one line, with € and \N{WASTEBASKET}"
    yield _required("logs", "a line", client.post_logs(job_id, token, key("line"), [line]))
    size = BODY_BYTES_MAX // LOG_LINES_PER_BATCH - len(_STAMP) - len('"", ')
    many = [_STAMP + "x" * size] * LOG_LINES_PER_BATCH
    yield _required("logs", "100 lines, 64 KiB", client.post_logs(job_id, token, key("many"), many))
    yield from _optional(client, job_id, token, key)
    for name in (JobStatus.PAUSED, JobStatus.RUNNING, JobStatus.COMPLETED):
        yield _required("status", name, client.patch_status(job_id, token, key(f"{name}-2"), name))


def _optional(
    client: BackendClient, job_id: str, token: SecretStr, key: Callable[[str], str]
) -> Iterator[Finding]:
    points = [{**_POINT, "step": step} for step in (3, 4)]
    yield _may_lack("points", client.post_points(job_id, token, key("points"), points))
    said: dict[str, Any] = {"job_id": job_id, "epoch": 0, "step": 4}
    said |= {"sample_index": 0, "prompt": "2+2?", "prediction": "4"}
    yield _may_lack("predictions", client.post_prediction(job_id, token, key("said"), said))


def _required(endpoint: Endpoint, what: str, answer: Answer) -> Finding:
    route = ROUTES[endpoint]
    if isinstance(answer, Delivered):
        return Finding(endpoint, "ok", f"{route} takes {what}.")
    reason = "HTTP 405" if isinstance(answer, RouteMissing) else answer.reason
    sentence = f"{route} does not take {what}: {reason}."
    return Finding(endpoint, "failure", sentence, _MENDS[type(answer)])


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
