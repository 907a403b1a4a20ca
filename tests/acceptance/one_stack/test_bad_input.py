"""Bad input ends in `failed` with a reason at the backend, and the next job runs."""

from __future__ import annotations

import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def stack(stack: Stack) -> Stack:
    """With data sets of which nothing can be learned."""
    (stack.datasets / "empty.jsonl").write_text("")
    (stack.datasets / "strange.jsonl").write_text('{"colour": "red", "size": 3}\n')
    (stack.datasets / "broken.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    return stack


@pytest.mark.parametrize(
    ("case", "fields", "kind", "words"),
    [
        ("no-data-set", {"dataset": "missing.jsonl"}, "dataset", ["missing.jsonl"]),
        ("outside", {"dataset": "../../../etc/passwd"}, "dataset", ["passwd"]),
        ("empty", {"dataset": "empty.jsonl"}, "dataset", ["empty"]),
        ("no-column", {"dataset": "strange.jsonl"}, "dataset", ["colour", "size"]),
        ("broken-line", {"dataset": "broken.jsonl"}, "dataset", ["line 2"]),
        ("no-model", {"model": "nobody/nothing"}, "model_not_found", ["nobody/nothing"]),
        ("model-outside", {"model": "../../outside"}, "model", ["../../outside"]),
    ],
)
def test_failed_with_a_reason(
    stack: Stack, case: str, fields: dict[str, str], kind: str, words: list[str]
) -> None:
    stack.submit(case, **fields)
    job = stack.wait(case, "failed")
    stack.wait_delivered(case)
    assert job["error_kind"] == kind
    assert job["restarts"] == 0
    stored = stack.backend.status(case)
    assert stored["status"] == "failed"
    for word in words:
        assert word in stored["error"]
    assert stack.backend.statuses(case) == ["running", "failed"]
    assert "Traceback" not in stored["error"]


def test_a_failed_job_is_no_traceback_in_the_workers_log(stack: Stack) -> None:
    log = stack.home / "worker-0.log"
    before = len(log.read_text())
    stack.submit("plain", dataset="missing.jsonl")
    stack.wait("plain", "failed")
    wait_for("the worker says it", lambda: "tasks.train[plain:1] raised" in log.read_text())
    assert "Traceback" not in log.read_text()[before:]


def test_the_worker_goes_on_afterwards(stack: Stack) -> None:
    stack.submit("after", steps=2)
    stack.wait("after", "completed")


def test_a_backend_that_is_away_from_the_start_holds_nothing_up(stack: Stack) -> None:
    stack.backend.add_fault(status=503)
    stack.redis.ping()
    stack.backend.clear_faults()
    token_of_nobody = {"job_token": "unknown"}
    stack.submit("unheard", steps=2, **token_of_nobody)
    stack.wait("unheard", "completed")
    stack.submit("heard", steps=2)
    stack.wait("heard", "completed")
    stack.wait_delivered("heard")
    assert stack.backend.statuses("heard") == ["running", "completed"]
