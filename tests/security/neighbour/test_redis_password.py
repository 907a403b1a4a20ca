"""Password of Compose's Redis: made at the first start, in a file, and shown by nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.exceptions import AuthenticationError, ConnectionError

from tests.support.paths import REPOSITORY
from tests.support.ports import free_port
from tests.support.redis_server import redis_executable
from tests.support.waiting import wait_for
from trainyard.store.connection import ping

FOLDER = "/run/trainyard"
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Stands for the containers' folders, and has their programs."""
    for program, here in (("python", sys.executable), ("redis-server", redis_executable())):
        (tmp_path / program).symlink_to(here)
    return tmp_path


def started(service: str, place: Path, port: int = 0) -> subprocess.Popen[bytes]:
    """The service's command by its shell."""
    command = SERVICES[service]["command"][2].replace("$$", "$")
    for text, here in (
        (FOLDER, place),
        ("/data", place),
        ("appendonly", f"port {port}\nappendonly"),
    ):
        command = command.replace(text, str(here))
    path = f"{place}:{os.environ['PATH']}"
    return subprocess.Popen(["sh", "-c", command], env={"PATH": path}, stdout=subprocess.DEVNULL)


def test_it_is_made_once_and_redis_asks_for_it(place: Path) -> None:
    file, port, made = place / "redis-password", free_port(), set[str]()
    for _ in range(2):
        assert started("redis-password", place).wait(20) == 0
        made.add(file.read_text().strip())
    (password,) = made
    assert len(password) > 40
    assert file.stat().st_mode & 0o777 == 0o640

    url = f"redis://127.0.0.1:{port}/0"
    with started("redis", place, port) as redis:
        try:
            wait_for("Redis answers", lambda: answers(f"{url}?password_file={file}"))
            with pytest.raises(AuthenticationError):
                ping(url, 5)
            shown = (
                Path(f"/proc/{redis.pid}/{name}").read_text() for name in ("cmdline", "environ")
            )
            assert password not in "".join(shown)
        finally:
            redis.terminate()


def answers(url: str) -> bool:
    try:
        ping(url, 5)
    except ConnectionError:
        return False
    return True


def test_no_environment_of_a_container_has_a_password_of_redis() -> None:
    written = (REPOSITORY / "docker-compose.yml").read_text()
    assert "REDIS_PASSWORD" not in written
    mounted = {
        name for name, service in SERVICES.items() if f"secrets:{FOLDER}" in str(service["volumes"])
    }
    assert mounted == set(SERVICES)
    writable = {n for n, s in SERVICES.items() if f"secrets:{FOLDER}" in s["volumes"]}
    assert writable == {"redis-password"}
