"""A Redis that cannot hold the jobs: refused at the start with what mends it, by either client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from trainyard.redis_check.suitability import UnsuitableRedis, check, troubles
from trainyard.redis_check.troubles import trouble_of

ALL = "~* &* +@all"


@pytest.fixture
def user(redis_server: RedisServer, real_redis: Redis) -> Iterator[Callable[..., str]]:
    """Makes a user of some rules; returns the URL with which it logs in."""

    def made(*rules: str) -> str:
        real_redis.execute_command("ACL", "SETUSER", "app", "on", ">pw", *" ".join(rules).split())
        return redis_server.url.replace(":test-password@", "app:pw@")

    yield made
    real_redis.execute_command("ACL", "DELUSER", "app")


def test_what_the_documents_recommend_is_enough(user: Callable[..., str], real_redis: Any) -> None:
    found = troubles(user(ALL, "-@admin"))
    assert [trouble.kind for trouble in found] == ["risk"], found
    assert real_redis.dbsize() == 0, "no scratch key is left"


@pytest.mark.parametrize(
    ("rules", "lacks"),
    [
        ("resetchannels ~* +@all", "&*"),
        ("~trainyard:* ~training:* &* +@all", "~*"),
        (f"{ALL} -@dangerous", "+info"),
        (f"{ALL} -xautoclaim -@pubsub", "+xautoclaim +publish +subscribe +psubscribe"),
        (f"{ALL} -@scripting -multi", "+eval +evalsha +multi"),
    ],
)
def test_a_user_without_a_right_is_named_the_rule(
    user: Callable[..., str], rules: str, lacks: str
) -> None:
    with pytest.raises(UnsuitableRedis) as refused:
        check(user("reset on >pw", rules))
    assert refused.value.sentence == f"the user app of this Redis lacks rights: {lacks}"
    assert f"ACL SETUSER app {lacks}," in refused.value.mend


@contextlib.contextmanager
def server(**options: Any) -> Iterator[tuple[RedisServer, Redis]]:
    with RedisServer(**options) as running, running.client() as client:
        yield running, client


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    renamed = tmp_path / "redis.conf"
    renamed.write_text('rename-command XAUTOCLAIM ""\nrename-command LREM ""\n')
    with server(configuration=renamed) as (running, _):
        (trouble,) = [t for t in troubles(running.url) if t.kind == "lasting"]
    assert trouble.sentence == "this Redis knows no LREM, XAUTOCLAIM"
    assert "Redis 6.2 at least" in trouble.mend


def test_passwords(redis_server: RedisServer, real_redis: Redis) -> None:
    url = redis_server.url
    for said, other in {
        "asks for a password, and REDIS_URL has none": url.replace(":test-password@", ""),
        "does not take the user and password": url.replace("test-password", "wrong"),
    }.items():
        with pytest.raises(UnsuitableRedis, match=said) as refused:
            check(other)
        assert "wrong" not in str(refused.value)


def test_nobody_is_there() -> None:
    with pytest.raises(UnsuitableRedis, match=r"Redis does not answer .*: start it, or set REDIS"):
        check(f"redis://:s3cret@127.0.0.1:{free_port()}/0")


def test_what_may_pass_is_a_warning_at_the_start() -> None:
    with server(append_only=True) as (running, client):
        assert check(running.url) == []
        client.replicaof("127.0.0.1", 1)
        (warning,) = check(running.url)
        assert warning.startswith("this Redis is a read-only replica: set REDIS_URL to the primary")
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 1)
        (warning,) = check(running.url)
        assert warning.startswith("this Redis takes no writes: its memory is full (maxmemory)")
        client.config_set("maxmemory", 0)
        client.config_set("min-replicas-to-write", 1)
        (warning,) = check(running.url)
        assert "too few of its replicas answer" in warning


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("MISCONF Redis is configured to save RDB snapshots", "could not write to its disk"),
        ("LOADING Redis is loading the dataset in memory", "still reading its data"),
        ("Redis is loading the dataset in memory", "still reading its data"),
        ("AUTH <password> called without any password configured", "this Redis asks for none"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "nobody vouches for the certificate"),
    ],
)
def test_answers_that_are_hard_to_bring_about(said: str, means: str) -> None:
    assert means in trouble_of(Exception(said)).sentence
