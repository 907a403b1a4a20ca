"""Host guard of bridge and development backend: whom it lets in, by where the server is."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from backend_bridge.api.guards import HostGuard


def guarded(**options: bool) -> TestClient:
    inner = Starlette(routes=[Route("/", lambda _: PlainTextResponse("in"))])
    return TestClient(HostGuard(inner, server="this server", **options))


@pytest.mark.parametrize(
    ("loopback_only", "short_names", "let_in", "refused"),
    [
        (True, False, ["localhost", "127.0.0.1", "[::1]"], ["backend", "evil.example"]),
        (True, True, ["localhost:3000", "backend:3000"], ["evil.example", "192.0.2.1"]),
        (False, False, ["backend", "gpu.example"], []),
    ],
)
def test_host_names(
    loopback_only: bool, short_names: bool, let_in: list[str], refused: list[str]
) -> None:
    client = guarded(loopback_only=loopback_only, short_names=short_names)
    for status, hosts in ((200, let_in), (403, refused)):
        for host in hosts:
            assert client.get("/", headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize("headers", [{"Host": "["}, {"Host": "localhost", "Origin": "http://["}])
def test_a_host_that_is_no_address_is_refused(headers: dict[str, str]) -> None:
    assert guarded().get("/", headers=headers).status_code == 403
