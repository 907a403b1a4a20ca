"""Names of slots: never the id of a container, which a new image changes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from trainyard.scheduling import slot_names

CONTAINER = "cffaf6f290a1"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    slot_names._machine_name.cache_clear()
    yield
    slot_names._machine_name.cache_clear()


def machine(patch: pytest.MonkeyPatch, host: str, reverse: str | None = None) -> None:
    """A machine of that host name, whose address has the name ``reverse``."""

    def by_address(_: str) -> tuple[str, list[str], list[str]]:
        if reverse is None:
            raise socket.herror("unknown host")
        return reverse, [], []

    patch.setattr(socket, "gethostname", lambda: host)
    patch.setattr(socket, "gethostbyname", lambda _: "172.18.0.5")
    patch.setattr(socket, "gethostbyaddr", by_address)


@pytest.mark.parametrize(
    ("host", "reverse", "slot"),
    [
        ("gpu-box", "elsewhere.lan", "gpu-box-0"),
        (CONTAINER, "yard-worker-2.yard_default", "yard-worker-2-0"),
        (CONTAINER, None, f"{CONTAINER}-0"),
    ],
    ids=["a host", "a container of Compose", "a container without a name server"],
)
def test_where_the_name_comes_from(
    monkeypatch: pytest.MonkeyPatch, host: str, reverse: str | None, slot: str
) -> None:
    machine(monkeypatch, host, reverse)
    assert slot_names.slot_name(0) == slot


def test_the_name_that_was_set_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, CONTAINER, "yard-worker-1.yard_default")
    monkeypatch.setenv("TRAINYARD_HOST", "second")
    assert slot_names.host_name() == "second"
