"""The ports of `trainyard up`: who holds one, and which setting moves the service."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from trainyard.cli.up import ports_of
from trainyard.local.ports import PortTaken, free_ports
from trainyard.settings import Settings, read_settings

SERVICES = ("bridge_port", "flower_port", "dev_backend_port")


@pytest.fixture
def current() -> Settings:
    return read_settings(**dict(zip(SERVICES, free_ports(3), strict=True)))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_every_port_can_be_set(current: Settings) -> None:
    found = ports_of(current)
    assert (found.bridge, found.flower, found.backend) == tuple(
        getattr(current, name) for name in SERVICES
    )


@pytest.mark.parametrize("name", SERVICES)
def test_a_taken_port_names_its_holder_and_its_setting(
    current: Settings, taken: int, name: str
) -> None:
    with pytest.raises(PortTaken) as caught:
        ports_of(current.model_copy(update={name: taken}))
    said = str(caught.value)
    assert f"port {taken}, which" in said
    assert f"process {os.getpid()} (" in said
    assert f"or set {name.upper()}" in said


def test_two_services_on_one_port(current: Settings) -> None:
    twice = current.model_copy(update={"dev_backend_port": current.flower_port})
    with pytest.raises(PortTaken, match="FLOWER_PORT and DEV_BACKEND_PORT are both"):
        ports_of(twice)


def test_a_backend_of_ones_own_needs_no_port(current: Settings, taken: int) -> None:
    own = read_settings(
        **{name: getattr(current, name) for name in SERVICES[:2]},
        dev_backend_port=taken,
        backend_url="http://127.0.0.1:9",
    )
    assert ports_of(own).backend is None


def test_a_port_that_only_root_may_take(current: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("trainyard.local.ports.socket.socket.bind", denied)
    with pytest.raises(PortTaken, match="is below those that this user may take: set BRIDGE_PORT"):
        ports_of(current)
