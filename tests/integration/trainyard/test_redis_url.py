"""Job store and Celery reach the Redis that REDIS_URL names: over a socket, TLS, odd passwords."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from redis.exceptions import RedisError

from tests.support.certificates import write_certificate
from tests.support.paths import REPOSITORY
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, redis_executable
from tests.support.tls_proxy import tls_in_front
from tests.support.waiting import wait_for
from trainyard.store.connection import connect

BOTH = """
import json
from trainyard.settings import settings
from trainyard.store.connection import connect
from worker.app import app

def tried(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def celery():
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=0, timeout=3)
        connection.default_channel.client.set("celery", "was here")
        return "ok"

def store():
    connect(settings().redis_location, retries=0).set("store", "was here")
    return "ok"

print(json.dumps([tried(store), tried(celery)]))
"""


def both(url: str, home: Path) -> list[str]:
    """How the job store's client and Celery's fare with ``url``: "ok" or their error."""
    done = subprocess.run(
        [sys.executable, "-c", BOTH],
        cwd=REPOSITORY,
        env={**os.environ, "REDIS_URL": url, "TRAINYARD_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_an_odd_password_and_a_database_of_its_own(tmp_path: Path) -> None:
    with RedisServer(requirepass="p@ss/w:rd#1") as server:
        url = f"redis://:p%40ss%2Fw%3Ard%231@127.0.0.1:{server.port}/5"
        assert both(url, tmp_path) == ["ok", "ok"]
        with server.client() as client:
            assert client.info("keyspace").keys() == {"db5"}


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    with RedisServer(requirepass="pw", unix_socket=path) as server:
        assert both(f"unix://:pw@{path}?db=3", tmp_path) == ["ok", "ok"]
        with server.client() as client:
            assert client.info("keyspace").keys() == {"db3"}


@contextmanager
def sentinels(server: RedisServer, folder: Path) -> Iterator[list[int]]:
    """Two that watch ``server`` as `yard`, each with a password of its own; gives their ports."""
    ports, running = [free_port(), free_port()], []
    for port in ports:
        written = folder / f"sentinel-{port}.conf"
        written.write_text(
            f"port {port}\nbind 127.0.0.1\nrequirepass sentinel-pw\n"
            f"sentinel monitor yard 127.0.0.1 {server.port} 1\nsentinel auth-pass yard pw\n"
        )
        command = [redis_executable(), str(written), "--sentinel"]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    try:
        for port in ports:
            with connect(f"redis://:sentinel-pw@127.0.0.1:{port}", retries=0) as client:
                wait_for("it knows the yard", partial(knows_the_yard, client))
        yield ports
    finally:
        for process in running:
            process.kill()
            process.wait()


def knows_the_yard(client: Any) -> bool:
    try:
        return bool(client.sentinel_master("yard")["ip"])
    except RedisError:
        return False


def test_sentinels_of_which_the_first_is_gone(tmp_path: Path) -> None:
    with RedisServer(requirepass="pw") as server, sentinels(server, tmp_path) as (first, second):
        for gone in (first, free_port()):
            hosts = f"127.0.0.1:{gone},127.0.0.1:{second}"
            url = f"sentinel://:pw@{hosts}/yard/2?sentinel_password=sentinel-pw"
            assert both(url, tmp_path) == ["ok", "ok"]
        with server.client() as client:
            assert client.info("keyspace").keys() == {"db2"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    return write_certificate(path, x509.IPAddress(ip_address("127.0.0.1")))


@pytest.mark.parametrize(
    ("words", "works"),
    [
        ("", False),
        ("?ssl_cert_reqs=required", False),
        ("?ssl_ca_certs={ca}", True),
        ("?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}", True),
        ("?ssl_cert_reqs=none", True),
    ],
)
def test_tls_is_verified_by_both(
    words: str, works: bool, certificate: Path, tmp_path: Path
) -> None:
    """Celery by itself logs in at a server that nobody vouches for, and sends it the password."""
    with (
        RedisServer(requirepass="s3cret") as server,
        tls_in_front(server.port, certificate) as (port, heard),
    ):
        url = f"rediss://:s3cret@127.0.0.1:{port}/0{words.format(ca=certificate)}"
        found = both(url, tmp_path)
    if works:
        assert found == ["ok", "ok"]
    else:
        assert all("CERTIFICATE_VERIFY_FAILED" in error for error in found), found
    assert (b"s3cret" in heard) == works
