"""The checklist of one's own backend: the development backend passes it, faults are named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.command_line import trainyard
from tests.support.dev_backend import DevBackend
from tests.support.scripted_backend import OK, Received, Reply, ScriptedBackend

TOKEN = "token-of-the-row"


def checked(url: str, job_id: str = "check-1") -> tuple[int, dict[str, list[Any]]]:
    """Exit code, and the findings by level."""
    done = trainyard("doctor", "--json", "--backend", url, "--job", job_id, "--token", TOKEN)
    assert done.stdout, done.stderr
    assert TOKEN not in done.stdout
    found: dict[str, list[Any]] = {"ok": [], "warning": [], "failure": []}
    for finding in json.loads(done.stdout)["findings"]:
        found[finding["level"]].append(finding)
    return done.exit_code, found


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as backend:
        yield backend


@pytest.mark.parametrize("options", [[], ["--without-optional-routes"]])
def test_the_development_backend_passes(options: list[str]) -> None:
    with DevBackend(options=options) as backend:
        backend.create_job("check-1", TOKEN)
        code, found = checked(backend.url)
        assert (code, found["failure"], found["warning"]) == (0, [], [])
        missing = [one for one in found["ok"] if "as it may" in one["sentence"]]
        assert len(missing) == (2 if options else 0)
        assert backend.status("check-1")["status"] == "completed"
        assert checked(backend.url, "unknown")[0] == 1


def test_a_backend_that_takes_any_token_is_warned_of(backend: ScriptedBackend) -> None:
    backend.answer = lambda request: Reply(200, b'{"ok": true}')
    code, found = checked(backend.url)
    assert (code, found["failure"]) == (0, [])
    assert [one["check"] for one in found["warning"]] == ["token"]


def no_logs(request: Received) -> Reply:
    return Reply(404, b"<h1>Not Found</h1>") if request.path.endswith("/logs") else OK


def page(request: Received) -> Reply:
    return Reply(200, b"<html>Sign in</html>") if request.method == "PUT" else OK


def small(request: Received) -> Reply:
    return Reply(413, b"{}") if len(json.dumps(request.body)) > 20_000 else OK


def broken(request: Received) -> Reply:
    return Reply(500, b'{"error": "no table"}') if request.method == "PATCH" else OK


@pytest.mark.parametrize(
    ("answer", "check", "says"),
    [
        (no_logs, "logs", "HTTP 404"),
        (page, "metrics", "its body is no JSON"),
        (small, "logs", "HTTP 413"),
        (broken, "status", "no table"),
    ],
)
def test_a_fault_is_named_with_its_route(
    backend: ScriptedBackend, answer: Any, check: str, says: str
) -> None:
    backend.answer = answer
    code, found = checked(backend.url)
    assert code == 1
    assert {one["check"] for one in found["failure"]} == {check}
    assert all(says in one["sentence"] for one in found["failure"])
    assert all(one["mend"] for one in found["failure"])


def test_a_backend_that_is_not_there(backend: ScriptedBackend) -> None:
    code, found = checked("http://127.0.0.1:9")
    assert code == 1
    assert "connection refused" in found["failure"][0]["sentence"]
