"""Times that a person writes for ``--not-before``, in a zone with summer time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import click
import pytest

from trainyard.cli.queueing.clock_time import ClockTime, absolute
from trainyard.cli.tables import first_words


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("now", "written", "then"),
    [
        ("2026-01-31T12:00", "22:00", "2026-01-31T22:00:00+01:00"),
        ("2026-01-31T23:00", "22:00", "2026-02-01T22:00:00+01:00"),
        ("2026-01-31T22:00", "22:00", "2026-02-01T22:00:00+01:00"),
        ("2026-01-31T12:00", "9:30", "2026-02-01T09:30:00+01:00"),
        ("2026-03-28T23:00", "22:00", "2026-03-29T22:00:00+02:00"),  # the day with 23 hours
        ("2026-10-24T23:00", "22:00", "2026-10-25T22:00:00+01:00"),  # the day with 25
        ("2026-01-31T12:00", "2026-07-01T22:00", "2026-07-01T22:00:00+02:00"),
        ("2026-01-31T12:00", "2026-07-01T22:00:00Z", "2026-07-02T00:00:00+02:00"),
    ],
)
def test_a_time(now: str, written: str, then: str) -> None:
    assert absolute(written, datetime.fromisoformat(now)).isoformat() == then


@pytest.mark.parametrize("written", ["", "soon", "25:00", "22:60", "1700000000", "20260131"])
def test_no_time(written: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time: write 22:00"):
        ClockTime().convert(written, None, None)


def test_a_reason_keeps_its_time_in_a_table() -> None:
    reason = "waits until 2026-01-31 22:00 CET; `trainyard force-start a` does not wait"
    assert first_words(reason) == "waits until 2026-01-31 22:00 CET"
