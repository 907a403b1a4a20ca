"""Tests of a desk and its client: a real process, a library that is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.peers.desk_client import DeskClient, DeskFailed
from tests.support.paths import REPOSITORY

DESK = """
from benchmarks.peers.desk import serve
class Small:
    def submit(self, spec):
        print("a library that talks")
        return spec["name"]
    def says(self, name):
        raise KeyError(name)
    def cancel(self, name):
        import os; print("it dies"); os._exit(3)
serve(Small)
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[DeskClient]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    client = DeskClient([sys.executable, "-c", DESK], environment, tmp_path / "log")
    yield client
    client.close()
    assert not client.alive


def test_calls_are_answered_and_talk_goes_to_the_log(desk: DeskClient, tmp_path: Path) -> None:
    assert desk.call("submit", {"name": "a"}) == "a"
    assert desk.call("submit", {"name": "b"}) == "b"
    assert (tmp_path / "log").read_text().count("a library that talks") == 2


def test_what_the_library_refuses_is_said_and_the_desk_lives_on(desk: DeskClient) -> None:
    with pytest.raises(DeskFailed, match="KeyError: 'a'"):
        desk.call("says", "a")
    assert desk.call("submit", {"name": "a"}) == "a"


def test_a_desk_that_dies_gives_its_last_words(desk: DeskClient) -> None:
    with pytest.raises(DeskFailed, match="it dies"):
        desk.call("cancel", "a")


def test_a_library_that_is_missing_is_the_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import no_such_queue"]
    client = DeskClient(command, dict(os.environ), tmp_path / "log")
    with pytest.raises(DeskFailed, match="No module named 'no_such_queue'"):
        client.call("ready")
    client.close()
