"""The bridge's key, the addresses that it serves, and its pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from redis import Redis

from backend_bridge.openai_api import routes as openai_routes
from tests.support.bridge import Running, refusal
from tests.support.ports import free_port
from trainyard.settings import SettingsError
from trainyard.store.job_reads import JobReads

KEY = "bridge-k3y"

ROUTES = [
    ("GET", "/metrics"),
    ("GET", "/usage"),
    ("POST", "/api/training/execute"),
    ("GET", "/api/training/status/x"),
    ("GET", "/api/training/logs/x"),
    ("GET", "/api/training/metrics/x"),
    ("GET", "/api/training/jobs"),
    ("GET", "/api/training/queue"),
    ("GET", "/api/training/groups/x"),
    ("DELETE", "/api/training/jobs/x"),
    ("POST", "/api/training/x/generate"),
    ("POST", "/api/training/cancel/x"),
    ("POST", "/api/training/pause/x"),
    ("POST", "/api/training/resume/x"),
    ("POST", "/api/training/x/force-start"),
    ("GET", "/api/training/checkpoints/x"),
    ("GET", "/api/training/x/errors"),
    ("GET", "/api/training/x/download/model"),
    ("GET", "/api/training/x/download/logs"),
]
OPENAI_ROUTES = [
    ("POST", "/v1/files"),
    ("GET", "/v1/files"),
    ("GET", "/v1/files/x"),
    ("GET", "/v1/files/x/content"),
    ("DELETE", "/v1/files/x"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("GET", "/v1/fine_tuning/jobs"),
    ("GET", "/v1/fine_tuning/jobs/x"),
    ("POST", "/v1/fine_tuning/jobs/x/cancel"),
    ("POST", "/v1/fine_tuning/jobs/x/pause"),
    ("POST", "/v1/fine_tuning/jobs/x/resume"),
    ("GET", "/v1/fine_tuning/jobs/x/events"),
    ("GET", "/v1/fine_tuning/jobs/x/checkpoints"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/x"),
    ("POST", "/v1/chat/completions"),
]
"""Not in the document; their refusals have OpenAI's form."""
PAGES = [("GET", path) for path in ("/", "/docs", "/openapi.json", "/docs-assets/swagger-ui.css")]
ELSEWHERE = [
    ("GET", "/no-such-route"),
    ("GET", "/health/"),
    ("GET", "/health/no"),
    ("GET", "//health"),
    ("PUT", "/docs"),
]


@pytest.mark.parametrize(
    "header",
    [None, "", KEY, f"Basic {KEY}", "Bearer ", "Bearer x", f"Bearer {KEY}x", "Bearer \xff"],
)
def test_every_route_asks_for_the_key_in_the_same_words(
    make_bridge: Any, header: str | None
) -> None:
    bridge = make_bridge(BRIDGE_API_KEY=KEY)
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    asked = [*ROUTES, *PAGES, *ELSEWHERE]
    answers = {bridge.client.request(method, path, headers=headers).text for method, path in asked}
    assert len(answers) == 1
    body = refusal(bridge.get("jobs", headers=headers), 401)
    assert "set BRIDGE_API_KEY" in body["error"], "what to do about it"
    assert KEY not in answers.pop()


def test_openais_routes_ask_for_it_in_openais_form(make_bridge: Any) -> None:
    client = make_bridge(BRIDGE_API_KEY=KEY).client
    asked = [*OPENAI_ROUTES, ("GET", "/v1/none")]
    answers = [client.request(method, path) for method, path in asked]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    error = answers[0].json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert "set BRIDGE_API_KEY" in error["message"]
    headers = {"Authorization": f"Bearer {KEY}"}
    assert client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v1/none", 404, "no route GET /v1/none"),
        ("PUT", "/v1/files", 405, "no route PUT /v1/files"),
        ("GET", "/v1/files?limit=0", 400, "query.limit"),
        ("POST", "/v1/fine_tuning/jobs", 400, "model: Field required"),
    ],
)
def test_what_is_wrong_below_v1_has_openais_form(
    bridge: Running, method: str, path: str, status: int, said: str
) -> None:
    answer = bridge.client.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert said in error["message"]


def test_defects_and_a_redis_that_is_away_have_it_too(
    make_bridge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = make_bridge(REDIS_URL=f"redis://:s3cr3t@127.0.0.1:{free_port()}/0")
    answer = away.client.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    monkeypatch.setattr("backend_bridge.openai_api.model_routes.base_models", None)
    monkeypatch.setattr(JobReads, "newest", lambda *_: ([], None))
    answer = away.client.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert "s3cr3t" not in answer.text


def test_with_the_key_and_health_without(make_bridge: Any) -> None:
    bridge = make_bridge(BRIDGE_API_KEY=KEY)
    headers = {"Authorization": f"Bearer {KEY}"}
    assert bridge.get("jobs", headers=headers).status_code == 200
    assert bridge.client.get("/health").status_code == 200
    for method, path in PAGES:
        assert bridge.client.request(method, path, headers=headers).status_code == 200, path


def test_no_route_was_forgotten(bridge: Running) -> None:
    listed = bridge.client.get("/openapi.json").json()["paths"]
    paths = {re.sub(r"{[^}]+}", "x", path): methods for path, methods in listed.items()}
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    health = {("GET", f"/health{what}") for what in ("", "/live", "/ready")}
    assert routes - health == set(ROUTES)
    theirs = {
        (method, "/v1" + re.sub(r"{[^}]+}", "x", route.path))
        for router in openai_routes.ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert theirs == set(OPENAI_ROUTES)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "my-host", "127.0.0.1.evil.com"])
def test_it_does_not_stand_open(make_bridge: Any, host: str) -> None:
    with pytest.raises(SettingsError, match="BRIDGE_API_KEY"):
        make_bridge(BRIDGE_HOST=host)
    make_bridge(BRIDGE_HOST=host, BRIDGE_API_KEY=KEY)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_loopback_needs_no_key(make_bridge: Any, host: str) -> None:
    make_bridge(BRIDGE_HOST=host)


@pytest.mark.parametrize("published", ["127.0.0.1", "::1", "localhost"])
def test_a_container_published_on_loopback_needs_no_key(make_bridge: Any, published: str) -> None:
    bridge = make_bridge(BRIDGE_HOST="0.0.0.0", BRIDGE_PUBLISHED_ON=published)
    for name, code in [("localhost:8000", 200), ("bridge:8000", 200), ("rebound.example", 403)]:
        assert bridge.get("jobs", headers={"Host": name}).status_code == code, name


@pytest.mark.parametrize("published", ["0.0.0.0", "10.0.0.1", "my-host"])
def test_a_container_published_beyond_loopback_needs_one(make_bridge: Any, published: str) -> None:
    with pytest.raises(SettingsError, match=f"BRIDGE_PUBLISHED_ON={published}.*BRIDGE_API_KEY"):
        make_bridge(BRIDGE_HOST="0.0.0.0", BRIDGE_PUBLISHED_ON=published)
    make_bridge(BRIDGE_HOST="0.0.0.0", BRIDGE_PUBLISHED_ON=published, BRIDGE_API_KEY=KEY)


def test_the_docs_need_no_network(bridge: Running) -> None:
    page = bridge.client.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    assets = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert len(assets) >= 3
    for asset in assets:
        assert bridge.client.get(asset).status_code == 200, asset
    refusal(bridge.client.get("/docs-assets/../../../../etc/passwd"), 404)
    refusal(bridge.client.get("/docs-assets/%2e%2e/%2e%2e/__init__.py"), 404)


def test_redis_away_is_503_and_names_no_secret(make_bridge: Any, tmp_path: Path) -> None:
    bridge = make_bridge(REDIS_URL=f"redis://:s3cr3t@127.0.0.1:{free_port()}/0")
    for answer in (bridge.client.get("/health"), bridge.start(), bridge.get("jobs")):
        assert "Redis cannot be reached" in refusal(answer, 503)["error"]
        assert "s3cr3t" not in answer.text


def test_a_redis_that_takes_no_writes_is_503_with_the_reason(
    bridge: Running, real_redis: Redis
) -> None:
    real_redis.config_set("maxmemory", 1)
    try:
        said = refusal(bridge.start(), 503)["error"]
    finally:
        real_redis.config_set("maxmemory", 0)
    assert said == "this Redis takes no writes: its memory is full (maxmemory); try again soon"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "rebound.example:8000"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_web_pages_cannot_use_an_open_bridge(
    bridge: Running, headers: dict[str, str], code: int
) -> None:
    answer = bridge.get("jobs", headers=headers)
    assert answer.status_code == code
    assert code == 200 or "BRIDGE_API_KEY" in answer.json()["error"]


PAGE = "https://ui.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest.mark.parametrize("key", [None, KEY])
def test_pages_of_named_origins_may_use_it(make_bridge: Any, key: str | None) -> None:
    environment = {"BRIDGE_CORS_ORIGINS": f"http://localhost:5173, {PAGE}"}
    bridge = make_bridge(**environment, **({"BRIDGE_API_KEY": key} if key else {}))
    asked = bridge.client.options("/api/training/pause/x", headers=PREFLIGHT)
    assert asked.status_code == 200
    assert asked.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    headers = {"Origin": PAGE, **({"Authorization": f"Bearer {key}"} if key else {})}
    answer = bridge.get("jobs", headers=headers)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, PAGE)


@pytest.mark.parametrize("key", [None, KEY])
def test_pages_of_other_origins_may_not(make_bridge: Any, key: str | None) -> None:
    environment = {"BRIDGE_CORS_ORIGINS": PAGE, **({"BRIDGE_API_KEY": key} if key else {})}
    bridge = make_bridge(**environment)
    evil = {"Origin": "https://evil.example"}
    asked = bridge.client.options("/api/training/pause/x", headers={**PREFLIGHT, **evil})
    assert asked.status_code == 400
    answer = bridge.get("jobs", headers=evil)
    refusal(answer, 401 if key else 403)
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_refusal_can_be_read_by_a_named_page(make_bridge: Any) -> None:
    bridge = make_bridge(BRIDGE_CORS_ORIGINS=PAGE, BRIDGE_API_KEY=KEY)
    answer = bridge.get("jobs", headers={"Origin": PAGE})
    assert "BRIDGE_API_KEY" in refusal(answer, 401)["error"]
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


def test_by_default_no_page_of_another_origin_may(bridge: Running) -> None:
    asked = bridge.client.options("/api/training/pause/x", headers=PREFLIGHT)
    refusal(asked, 403)
    assert "Access-Control-Allow-Origin" not in asked.headers


@pytest.mark.parametrize("wrong", ["*", "ui.example", f"{PAGE}/", f"{PAGE},", "HTTPS://UI.EXAMPLE"])
def test_an_origin_that_no_browser_names_is_refused(make_bridge: Any, wrong: str) -> None:
    with pytest.raises(SettingsError, match="BRIDGE_CORS_ORIGINS: should be origins"):
        make_bridge(BRIDGE_CORS_ORIGINS=wrong)
