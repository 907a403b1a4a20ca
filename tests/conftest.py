"""Fixtures that several tests share: settings of nobody, and a real Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from redis import Redis

from tests.support.redis_server import RedisServer, redis_executable
from tests.support.store_calls import job_store
from trainyard import settings as settings_module
from trainyard.store.job_store import JobStore

_UMASK = os.umask(0o022)
os.umask(_UMASK)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test begins with the umask of the run: entry points that are called change it."""
    os.umask(_UMASK)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist loadfile``, and one process for all files that share one set of services."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByServices(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            before, folder, _ = nodeid.partition("/one_stack/")
            return before if folder else str(super()._split_scope(nodeid))

    return ByServices(config, log)


def missing(what: str) -> NoReturn:
    """Skip on a laptop, fail in CI."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the settings of whoever runs it, nor a setting that another test cached."""
    names = {name.upper() for name in settings_module.Settings.model_fields}
    for name in names & set(os.environ):
        monkeypatch.delenv(name)
    settings_module.settings.cache_clear()
    yield
    settings_module.settings.cache_clear()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One real server for the whole run; :func:`real_redis` empties it for each test."""
    try:
        redis_executable()
    except ImportError:
        missing("redis-server")
    with RedisServer(requirepass="test-password") as server:
        yield server


@pytest.fixture
def real_redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A client of the real server, decoding to str, on an empty database."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def redis(real_redis: Redis) -> Redis:
    return real_redis


@pytest.fixture
def store(redis: Redis) -> JobStore:
    """A job store with the settings' defaults."""
    return job_store(redis)
