"""The backend's three endpoints, over a real connection to a server that misbehaves on demand."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
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
from tests.support.scripted_backend import OK, Reply, ScriptedBackend

TOKEN = SecretStr("s3cret-job-token")
RUNNING = {"status": "running"}


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as backend:
        yield backend


@pytest.fixture
def client(backend: ScriptedBackend) -> Iterator[BackendClient]:
    with BackendClient(backend.url, timeout_s=10) as client:
        yield client


def send(client: BackendClient) -> Answer:
    return client.post("job-1", TOKEN, BackendMessage("logs", "job-1:1:7", {"logs": ["line"]}))


# ---------------------------------------------------------------- what goes out


@pytest.mark.parametrize(
    ("endpoint", "method", "body"),
    [
        ("status", "PATCH", {"status": "failed", "error": "no data"}),
        ("metrics", "PUT", {"step": 3, "epoch": 1, "train_loss": 0.5}),
        ("logs", "POST", {"logs": ["[2026-01-01 00:00:00] größer", "\ud83d\ude80 \ud800"]}),
    ],
)
def test_endpoints(
    backend: ScriptedBackend, client: BackendClient, endpoint: Any, method: str, body: Any
) -> None:
    message = BackendMessage(endpoint, "job-1:1:3", body)
    assert client.post("job-1", TOKEN, message) == Delivered()
    (request,) = backend.received
    assert (request.method, request.path) == (method, f"/api/training/local/job-1/{endpoint}")
    assert request.body == json.loads(json.dumps(body))  # two halves of a character are one
    assert request.key == "job-1:1:3"
    assert request.headers["Authorization"] == "Bearer s3cret-job-token"
    assert request.headers["Content-Type"] == "application/json"


def test_requests_share_one_connection_also_after_errors(
    backend: ScriptedBackend, client: BackendClient
) -> None:
    backend.script("job-1", [OK, Reply(500, b"<html>"), Reply(401, b"{}"), Reply(405, b"no")])
    for _ in range(5):
        send(client)
    assert len({request.client for request in backend.received}) == 1


# ---------------------------------------------------------------- what the answers mean


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            Reply(400, b'{"error": "Invalid status", "details": "step"}'),
            Refused("HTTP 400: Invalid status (step)", 400),
        ),
        (Reply(403, b"<html>"), Refused("HTTP 403", 403)),
        (Reply(413, b'{"error": 5}'), Refused("HTTP 413", 413)),
        (Reply(401, b'{"error": "no bearer"}'), AccessRefused("HTTP 401: no bearer", 401)),
        (Reply(404, b'{"error": "unknown job"}'), AccessRefused("HTTP 404: unknown job", 404)),
        (Reply(405, b""), RouteMissing("POST /api/training/local/{jobId}/logs")),
        (Reply(408, b""), TryAgain("HTTP 408", not_done=True)),
        (Reply(425, b""), TryAgain("HTTP 425", not_done=True)),
        (Reply(429, b"{}", {"Retry-After": "7"}), TryAgain("HTTP 429", 7.0, not_done=True)),
        (Reply(503, b"{}", {"Retry-After": "soon"}), TryAgain("HTTP 503", not_done=True)),
        (
            Reply(503, b"{}", {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}),
            TryAgain("HTTP 503", not_done=True),
        ),
        (
            Reply(429, b"{}", {"Retry-After": "Mon, 01 Jan 2024 00:00:00 +9999999999999"}),
            TryAgain("HTTP 429", not_done=True),
        ),
        (Reply(400, b'{"error": "bad \\ud800"}'), Refused("HTTP 400: bad \\ud800", 400)),
        (Reply(500, b'{"error": "boom"}'), TryAgain("HTTP 500: boom", not_done=True)),
        (Reply(502, b"<html>bad gateway</html>"), TryAgain("HTTP 502")),
        (Reply(200, b'{"success": true}'), Delivered()),
        (Reply(200, b'{"ok": true}'), Delivered()),
        (Reply(201, b"[]"), Delivered()),
        (Reply(202, b"null"), Delivered()),
        (Reply(204, b""), Delivered()),
    ],
)
def test_what_an_answer_means(
    backend: ScriptedBackend, client: BackendClient, reply: Reply, expected: Answer
) -> None:
    backend.script("job-1", [reply])
    assert send(client) == expected


NO_JSON = ", but its body is no JSON: a proxy's page or half an answer"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"<html>be back soon</html>"), f"HTTP 200{NO_JSON}"),
        (Reply(200, b""), f"HTTP 200{NO_JSON}"),
        (Reply(200, b'{"ok": tr'), f"HTTP 200{NO_JSON}"),
        (Reply(200, b'{"success": false, "error": "busy"}'), "HTTP 200: busy"),
        (Reply(200, b'{"success": true}', fault="half_body"), "the answer ended in the middle"),
        (Reply(200, b"[" * 60_000), f"HTTP 200{NO_JSON}"),
        (Reply(200, b" " * 1_000_000 + b'{"success": true}'), f"HTTP 200{NO_JSON}"),
        (Reply(0, fault="reset"), "the connection failed (ProtocolError)"),
    ],
    ids=["html", "empty", "half JSON", "false", "half", "deep", "huge", "reset"],
)
def test_what_may_not_have_arrived_is_tried_again(
    backend: ScriptedBackend, client: BackendClient, reply: Reply, reason: str
) -> None:
    backend.script("job-1", [reply])
    assert send(client) == TryAgain(reason)
    assert send(client) == Delivered()


def test_retry_after_as_a_date(backend: ScriptedBackend, client: BackendClient) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=60), usegmt=True)
    backend.script("job-1", [Reply(429, b"", {"Retry-After": value}) for value in (when, past)])
    answer = send(client)
    assert isinstance(answer, TryAgain)
    assert answer.retry_after_s is not None
    assert 30 < answer.retry_after_s <= 60
    assert send(client) == TryAgain("HTTP 429", 0.0, not_done=True)


def test_redirects_are_not_followed(backend: ScriptedBackend, client: BackendClient) -> None:
    with ScriptedBackend() as elsewhere:
        backend.script("job-1", [Reply(307, b"", {"Location": elsewhere.url + "/a/b/c/d/e"})])
        assert isinstance(send(client), TryAgain)
        assert elsewhere.received == []


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with BackendClient(f"http://127.0.0.1:{port}") as client:
        assert send(client) == TryAgain("connection refused")


@pytest.mark.parametrize("fault", ["hang", "drip_head", "drip_body"])
def test_the_time_limit_bounds_the_whole_request(backend: ScriptedBackend, fault: str) -> None:
    backend.script("job-1", [Reply(fault=fault)])  # type: ignore[arg-type]  # from the list above
    with BackendClient(backend.url, timeout_s=0.5) as client:
        begin = time.monotonic()
        assert send(client) == TryAgain("no complete answer within 0.5 s")
        assert time.monotonic() - begin < 10, "each byte started the time anew"
        assert send(client) == Delivered()


# ---------------------------------------------------------------- the token


def test_the_token_shows_nowhere(
    backend: ScriptedBackend, client: BackendClient, caplog: pytest.LogCaptureFixture
) -> None:
    secret = TOKEN.get_secret_value()
    caplog.set_level(logging.DEBUG)
    echo = f'{{"error": "wrong token {secret}", "details": "{secret}"}}'.encode()
    backend.script("job-1", [Reply(code, echo) for code in (400, 401, 500)])
    backend.script("job-1", [Reply(fault="reset")])
    answers = [send(client) for _ in range(5)]
    with BackendClient("http://127.0.0.1:9") as unreachable:
        answers.append(send(unreachable))
    kinds = [Refused, AccessRefused, TryAgain, TryAgain, Delivered, TryAgain]
    assert [type(answer) for answer in answers] == kinds
    assert answers[0] == Refused("HTTP 400: wrong token [token] ([token])", 400)
    assert secret not in repr(answers) + repr(client) + repr(vars(client)) + caplog.text


@pytest.mark.parametrize("token", ["", "two\r\nX-Evil: 1", " lead", "tökén", "a b"])
def test_a_token_that_no_header_can_carry(
    backend: ScriptedBackend, client: BackendClient, token: str
) -> None:
    answer = client.post("job-1", SecretStr(token), BackendMessage("status", "k", RUNNING))
    assert answer == Refused("the job's token holds characters that no HTTP header can carry", None)
    assert backend.received == []


def test_the_environment_changes_nothing(
    backend: ScriptedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with BackendClient(backend.url) as client:
        assert send(client) == Delivered()
    assert backend.received[0].headers["Authorization"] == "Bearer s3cret-job-token"


def test_one_jobs_cookie_is_not_sent_with_anothers_request(
    backend: ScriptedBackend, client: BackendClient
) -> None:
    backend.script("job-1", [Reply(headers={"Set-Cookie": "session=job-1; Path=/"})])
    send(client)
    client.post("job-2", TOKEN, BackendMessage("status", "k", RUNNING))
    assert "Cookie" not in backend.received[1].headers


@pytest.mark.parametrize(
    "url", ["localhost:3000", "ftp://host", "http://", "http://user:pass-word@host:3000"]
)
def test_an_address_that_cannot_be_right_is_said_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="BACKEND_URL should") as caught:
        BackendClient(url)
    assert "pass-word" not in str(caught.value)
