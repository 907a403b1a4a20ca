"""Pages of a job's log, while old lines are cut."""

from __future__ import annotations

import json
from typing import Any

import fakeredis
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.requests import start_request
from tests.support.running_job import RunningJob
from tests.support.store_calls import job_store
from trainyard.store.attempt_writes import StoredEvent
from trainyard.store.event_log import EventLog

JOB = "job-1"


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 8), max_size=15),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(-60, 60), st.integers(0, 40)), min_size=1, max_size=8),
)
def test_pages_of_the_log_are_those_of_a_plain_list(
    batches: list[int], kept: int, pages: list[tuple[int, int]]
) -> None:
    with fakeredis.FakeRedis(decode_responses=True) as redis:
        store = job_store(redis, log_lines_kept=kept)
        store.admit(start_request(JOB), slots=1)
        store.claim(JOB, 1, slot="s", worker="w")
        lines: list[str] = []
        first = 0
        for number, size in enumerate(batches, start=1):
            new = [f"line {len(lines) + i}" for i in range(size)]
            lines += new
            events = [StoredEvent("log", json.dumps(new), size), StoredEvent("phase", "{}")]
            store.append(JOB, 1, number, events)
        starts = [sum(batches[:i]) for i in range(len(batches))]
        if len(lines) > kept:  # one of the lines kept says how many were cut
            fitting = (start for start in starts if len(lines) - start < kept)
            first = next(fitting, starts[-1])
        model = lines[first:]
        for offset, limit in pages:
            page = EventLog(redis).logs(JOB, limit=limit, offset=offset)
            begin = max(len(model) + offset, 0) if offset < 0 else offset
            assert page.lines == model[begin : begin + limit]
            assert page.total_lines == len(model)
            assert page.offset == begin
            assert page.lines_cut == first


def test_entries_that_are_cut_while_a_page_is_read_do_not_move_the_others(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = job_store(redis, log_lines_kept=10_000)
    store.admit(start_request(JOB), slots=1)
    store.claim(JOB, 1, slot="s", worker="w")
    for n in range(3):
        store.append(JOB, 1, n + 1, [StoredEvent("log", json.dumps([f"{n}a", f"{n}b"]), 2)])
    log = EventLog(redis)
    read = log._range

    def cut_first(*arguments: Any) -> Any:
        (oldest,) = (e for e, f in read(JOB) if f.get("first_line") == "0")
        redis.xdel(f"trainyard:events:{JOB}", oldest)
        return read(*arguments)

    monkeypatch.setattr(log, "_range", cut_first)
    assert log.logs(JOB, limit=4, offset=1).lines == ["1a", "1b", "2a"]


def test_pages_of_metrics_are_all_of_them_while_more_come(redis: Any) -> None:
    job, log = RunningJob(redis, JOB), EventLog(redis)
    for step in range(1, 8):
        job.metric(step, train_loss=1.0)
        job.log(f"step {step}")
    pages, after = list[list[int]](), ""
    while True:
        points, end = log.metrics(JOB, 3, after)
        pages.append([point["step"] for point in points])
        if end is None:
            break
        after = end
        if len(pages) == 1:
            job.metric(8, train_loss=1.0)
    assert pages == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert [point["step"] for point in log.metrics(JOB)[0]] == list(range(1, 9))
