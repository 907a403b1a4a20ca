"""What a person sees of what the backend has not got."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from backend_bridge.delivery.acknowledge import set_aside_record
from backend_bridge.delivery.outbox import Outbox
from tests.support.delivery_scene import claimed
from tests.support.running_job import RunningJob
from trainyard.store.delivery_report import SetAside, delivery_report


def test_nothing_waits(redis: Redis) -> None:
    report = delivery_report(redis)
    assert (report.set_aside, report.waiting, report.missing_routes) == ([], [], {})
    assert report.undelivered == {"status": 0, "metric": 0, "log": 0}
    assert report.oldest_age_s == 0.0


def test_what_waits_is_counted_by_kind_the_oldest_first(redis: Redis) -> None:
    first = RunningJob(redis, "first")
    time.sleep(0.05)
    second = RunningJob(redis, "second")
    second.log("one", "two")
    second.metric(1)
    first.log("three")
    report = delivery_report(redis)
    assert [(job.job_id, job.statuses, job.metrics, job.lines) for job in report.waiting] == [
        ("first", 1, 0, 1),
        ("second", 1, 1, 2),
    ]
    assert report.undelivered == {"status": 2, "metric": 1, "log": 3}
    assert 0.05 <= report.oldest_age_s < 60


def test_lines_that_were_cut_do_not_wait(redis: Redis) -> None:
    job = RunningJob(redis, "job-1", log_lines_kept=5)
    for _ in range(5):
        job.log("one", "two")
    assert delivery_report(redis).undelivered["log"] == 4


def test_what_was_set_aside_has_its_reason(redis: Redis) -> None:
    RunningJob(redis, "job-1").metric(1)
    outbox = Outbox(redis, lock_s=60)
    hold = claimed(outbox, "job-1")
    status, metric = outbox.stream.read("job-1", "0-0")
    for entry, reason, http_status in (
        (status, "HTTP 400: no", 400),
        (metric, "the entry cannot be read", None),
    ):
        hold.set_aside = (set_aside_record("job-1", entry, reason, http_status), entry.kind)
        outbox.hold(hold)
    report = delivery_report(redis)
    unread, refused = report.set_aside
    assert refused == SetAside(
        "job-1", "status", "HTTP 400: no", 400, pytest.approx(time.time(), 5)
    )
    assert (unread.kind, unread.http_status) == ("metric", None)
    assert report.set_aside_counts == {"status": 1, "metric": 1}


def test_routes_that_the_backend_lacks_and_the_last_error_are_named(redis: Redis) -> None:
    RunningJob(redis, "job-1")
    outbox = Outbox(redis, lock_s=60)
    hold = claimed(outbox, "job-1")
    hold.progress.last_error = "connection refused"
    hold.missing["POST /x"] = str(int(time.time()))
    outbox.hold(hold)
    report = delivery_report(redis)
    assert report.missing_routes == {"POST /x": pytest.approx(time.time(), 5)}
    assert [(job.last_error, job.heard) for job in report.waiting] == [
        ("connection refused", False)
    ]
