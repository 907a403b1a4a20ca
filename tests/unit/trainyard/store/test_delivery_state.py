"""The delivery hash as typed state, also that of a version with one cursor for all kinds."""

from __future__ import annotations

import pytest

from trainyard.store.delivery_state import DeliveryProgress, Gap, Lane, read_progress


def test_what_is_stored_is_read_again() -> None:
    progress = DeliveryProgress(
        status=Lane(position="5-1", due_ms=7, failing="6-0", failures=2, refusal="doubted", done=3),
        next_line=40,
        gap=Gap("key", "line", 50),
        heard=True,
        ended_attempt=2,
        last_error="HTTP 500",
    )
    assert read_progress(progress.to_hash()) == progress
    assert read_progress({}) == DeliveryProgress()


def test_a_lane_is_behind_by_numbers_not_by_letters() -> None:
    assert Lane(position="5-9").is_behind("5-10")
    assert not Lane(position="10-0").is_behind("9-99")


OLD = {
    "cursor": "20-0",
    "ahead_metric": "35-2",
    "ahead_status": "10-0",
    "later_log": "77000",
    "missing_log": "1",
    "next_line": "300",
    "gap": '{"key": "job:1:9-gap", "line": "[..] ... 8 log lines", "to": 308}',
    "batch_to": "320",
    "done_status": "2",
    "done_metric": "30",
    "written_metric": "33",
    "ended_attempt": "1",
    "last_error": "the backend lacks POST .../logs (HTTP 405)",
    "fence": "9",
    "holder": "",
}


def test_one_cursor_and_what_is_ahead_of_it_become_lanes() -> None:
    assert read_progress(OLD) == DeliveryProgress(
        status=Lane(position="20-0", done=2),
        metric=Lane(position="35-2", done=30),
        log=Lane(position="20-0", due_ms=77000, refusal="missing"),
        prediction=Lane(position="20-0"),
        next_line=300,
        gap=Gap("job:1:9-gap", "[..] ... 8 log lines", 308),
        heard=True,
        ended_attempt=1,
        last_error="the backend lacks POST .../logs (HTTP 405)",
    )


@pytest.mark.parametrize(
    ("fields", "heard"),
    [
        ({}, False),
        ({"done_status": "1"}, True),
        ({"done_status": "1", "done_metric": "4", "set_aside": "5"}, False),
        ({"done_status": "1", "done_metric": "5", "set_aside": "5"}, True),
        ({"next_line": "3"}, True),
        ({"next_line": "3", "set_aside": "1"}, False),
    ],
)
def test_what_was_set_aside_was_not_heard(fields: dict[str, str], heard: bool) -> None:
    assert read_progress({"cursor": "1-0", **fields}).heard is heard
