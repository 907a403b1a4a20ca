"""Other web pages and strangers on the network: what reaches a server, and what they hear of it."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from backend_bridge.api.docs_routes import assets, page
from backend_bridge.api.guards import STRANGER, HostGuard, KeyGuard

HERE = {"Host": "127.0.0.1:8000"}
CROSS = {"Sec-Fetch-Site": "cross-site"}
FOLLOWED = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FRAMED = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}


def _inside(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"stranger: {request.scope.get(STRANGER)}")


def app() -> Starlette:
    return Starlette(
        routes=[Route(path, _inside, methods=["GET", "POST"]) for path in ("/", "/health")]
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        (CROSS, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        (CROSS | FOLLOWED, 200),
        (CROSS | FRAMED, 403),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "bridge:8000"}, 200),
        ({"Host": socket.gethostname()}, 200),
        ({"Host": "printer"}, 403),
        ({"Host": "wpad"}, 403),
        ({"Host": "bridge.evil.example"}, 403),
    ],
)
def test_whose_requests_a_server_in_a_container_takes(headers: Any, status: int) -> None:
    client = TestClient(HostGuard(app(), server="it", short_names=True))
    assert client.post("/", headers=HERE | headers).status_code == status


@pytest.mark.parametrize(
    ("authorization", "stranger"),
    [
        ("Bearer key-0123", False),
        ("bearer key-0123", False),
        ("BEARER key-0123", False),
        ("Bearer  key-0123", True),
        ("Bearer key-012", True),
        ("Basic key-0123", True),
        ("key-0123", True),
        ("", True),
        ("Bearer ÿ", True),
    ],
)
def test_the_key_opens_whatever_the_case_of_its_scheme(authorization: str, stranger: bool) -> None:
    client = TestClient(KeyGuard(app(), SecretStr("key-0123")))
    headers = {"Authorization": authorization.encode("latin-1")}
    assert client.get("/", headers=headers).status_code == (401 if stranger else 200)
    assert client.get("/health", headers=headers).text == f"stranger: {stranger}"


def test_the_page_is_of_a_version_without_known_holes() -> None:
    """A newer one is copied from npm's swagger-ui-dist."""
    bundle = Path(str(assets.directory), "swagger-ui-bundle.js").read_text()
    assert re.findall(r'PACKAGE_VERSION:"([\d.]+)"', bundle) == ["5.35.0"]
    assert re.findall(r'DOMPurify\.version="([\d.]+)"', bundle) == ["3.4.17"]


def test_the_page_with_buttons_is_not_framed() -> None:
    headers = page().headers
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
