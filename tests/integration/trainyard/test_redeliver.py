"""`trainyard redeliver`: asks Redis directly, and says what it asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from trainyard.cli import main


@pytest.fixture
def redis(
    redis_server: RedisServer, real_redis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    return real_redis


def redeliver(*arguments: str) -> Result:
    return CliRunner().invoke(main.main, ["redeliver", *arguments])


def set_aside(redis: Any, job_id: str) -> None:
    """As if the backend had refused `running`."""
    entry_id = redis.xrange(f"trainyard:events:{job_id}")[0][0]
    record = {"job_id": job_id, "entry_id": entry_id, "kind": "status", "reason": "HTTP 400"}
    redis.lpush("trainyard:set-aside", json.dumps({**record, "at": 0}))


def test_a_job_and_all_jobs(redis: Any) -> None:
    for job_id in ("job-1", "job-2", "pruned"):
        RunningJob(redis, job_id)
        set_aside(redis, job_id)
    redis.delete("trainyard:token:pruned")
    one = redeliver("job-1")
    assert (one.exit_code, one.stdout) == (0, "job-1: 1 refused messages will be sent again\n")
    everything = redeliver("--all", "--json")
    assert everything.exit_code == 0
    asked = {job["job_id"]: job["messages"] for job in json.loads(everything.stdout)}
    assert asked == {"job-1": 0, "job-2": 1}
    assert "Nothing of job pruned can be sent: its token is not" in everything.stderr
    again = redeliver("job-1", "--from-start")
    assert again.stdout == "job-1: everything will be sent again\n"
    assert redis.hget("trainyard:delivery:job-1", "asked") == "0"


def test_what_cannot_be_asked(redis: Any) -> None:
    unknown = redeliver("job-1")
    assert unknown.exit_code == 1
    assert "it was pruned, or never admitted" in unknown.stderr
    for arguments in ([], ["job-1", "--all"]):
        assert redeliver(*arguments).exit_code == 2
    assert redeliver("--all").stdout == "The backend has got everything.\n"
