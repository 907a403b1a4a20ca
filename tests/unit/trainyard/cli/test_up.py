"""The ports of `trainyard up`: who holds one, and which setting moves the service."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_for
from trainyard.cli.up import AlreadyUp, ports_of
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


SERVICE = """
import socket
held = socket.create_server(("127.0.0.1", 0))
print(held.getsockname()[1], flush=True)
input()
"""


def test_a_port_that_this_very_home_has_says_where_the_yard_is(
    current: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "bridge.log"
    log.parent.mkdir()
    command = [sys.executable, "-c", SERVICE]
    with log.open("w") as out, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out) as own:
        wait_for("the service listens", lambda: log.read_text().endswith("\n"))
        taken = current.model_copy(update={"bridge_port": int(log.read_text())})
        with pytest.raises(AlreadyUp) as caught:
            ports_of(taken.model_copy(update={"trainyard_home": tmp_path}))
        with pytest.raises(PortTaken, match=f"is taken by process {own.pid} "):
            ports_of(taken.model_copy(update={"trainyard_home": tmp_path / "another"}))
        own.communicate(b"\n")
    url = f"http://127.0.0.1:{current.dev_backend_port}"
    said = f"this yard is up already (process {os.getpid()}), at {url}: open it, or stop that one"
    assert str(caught.value) == said


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
