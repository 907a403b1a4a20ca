"""Tests of how processes of a run are found, watched and ended: real ones."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator

import pytest

from benchmarks.peers.processes import JOB_VARIABLE, RUN_VARIABLE, Watched, end_run, marked
from tests.support.waiting import wait_for


@pytest.fixture
def run() -> Iterator[str]:
    token = secrets.token_hex(8)
    yield token
    end_run(token)


def _start(run: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env={**os.environ, RUN_VARIABLE: run, **more})


def test_a_child_in_a_session_of_its_own_is_found_and_ended(run: str) -> None:
    with _start(run, "setsid", "-f", "sleep", "600", **{JOB_VARIABLE: f"job-{run}"}) as parent:
        parent.wait()
    (pid,) = wait_for("it is there", lambda: marked(JOB_VARIABLE, f"job-{run}"))
    assert marked(RUN_VARIABLE, run) == [pid]
    watched = Watched([pid])
    assert watched.alive() == 1
    assert watched.wait_gone(0.01) is None
    end_run(run)
    assert watched.wait_gone(30) is not None
    assert watched.alive() == 0
    assert marked(RUN_VARIABLE, run) == []
    watched.end()


def test_a_zombie_is_gone(run: str) -> None:
    with _start(run, "sleep", "600") as process:
        watched = Watched([process.pid])
        process.kill()
        assert watched.wait_gone(30) is not None  # nobody has waited for it yet
        watched.end()


def test_what_is_watched_is_ended_by_itself_alone(run: str) -> None:
    with _start(run, "sleep", "600") as one, _start(run, "sleep", "600") as other:
        Watched([one.pid]).end()
        assert one.wait(30) == -9
        assert other.poll() is None
        end_run(run)
        assert other.wait(30) == -9
