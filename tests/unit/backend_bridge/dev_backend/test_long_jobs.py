"""Jobs of a million steps: a chart reads some of their points, and the right ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend_bridge.dev_backend import rows
from backend_bridge.dev_backend.app import create_app
from backend_bridge.dev_backend.bridge_link import BridgeLink
from backend_bridge.dev_backend.database import Database
from backend_bridge.dev_backend.feed import Feed
from backend_bridge.dev_backend.jobs import Cursor, Jobs, NewJob

STEPS, EVERY, BEST = 1_000_000, 200, 700_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """With 5,000 points of ``a``, beside others' in its first half; each 100th is an eval."""
    database = Database(tmp_path / "jobs.sqlite3")
    jobs = Jobs(database)
    for job_id in ("a", "b"):
        jobs.create(NewJob(job_id, "", {}, "running"))
    with database.transaction():
        for step in range(EVERY, STEPS + 1, EVERY):
            point: dict[str, Any] = {"step": step, "epoch": 0, "train_loss": 2.0}
            if step % (EVERY * 100) == 0:
                point["eval_loss"] = abs(step - BEST) + 1.0
            for job_id in ("a", "b") if step <= STEPS // 2 else ("a",):
                jobs.add_metric(job_id, point)
    yield database
    database.close()


def steps_of(points: list[dict[str, Any]]) -> list[int]:
    return [point["step"] for point in points]


def test_a_chart_reads_some_points_and_every_eval(database: Database) -> None:
    app = create_app(database, Feed(), bridge=BridgeLink("http://127.0.0.1:9", None))
    client = TestClient(app, base_url="http://127.0.0.1:3000")
    told = client.get("/api/dev/points/a").json()
    steps = steps_of(told["points"])
    assert told["thinned"] is True
    assert 1_000 <= len(steps) <= rows.POINTS_MAX
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (EVERY, STEPS)
    assert max(b - a for a, b in pairwise(steps)) <= 2 * STEPS // 1_000
    evals = steps_of([point for point in told["points"] if "eval_loss" in point])
    assert evals == list(range(EVERY * 100, STEPS + 1, EVERY * 100))
    whole = client.get("/api/dev/points/a?whole=true").json()
    assert (len(whole["points"]), whole["thinned"]) == (STEPS // EVERY, False)


def test_the_best_of_many_evals_is_among_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "POINTS_MAX", 20)
    points, thinned = Jobs(database).points("a")
    assert thinned
    assert len(points) <= 20
    assert BEST in steps_of(points)


def test_a_page_that_comes_back_reads_what_is_new(database: Database) -> None:
    jobs = Jobs(database)
    first = jobs.changes("a", Cursor())
    assert (first.thinned, first.more) == (True, False)
    assert len(first.metrics) <= rows.POINTS_MAX
    again = jobs.changes("a", first.cursor)
    assert (again.metrics, again.thinned, again.cursor) == ([], False, first.cursor)
    behind = jobs.changes("a", Cursor(first.cursor.metric - 3))
    assert steps_of(behind.metrics) == [STEPS - EVERY * n for n in (2, 1, 0)]


def test_a_short_job_is_told_whole(database: Database) -> None:
    jobs = Jobs(database)
    jobs.create(NewJob("short", "", {}, "running"))
    with database.transaction():
        for step in range(1, rows.POINTS_MAX + 1):
            jobs.add_metric("short", {"step": step, "epoch": 0})
    points, thinned = jobs.points("short")
    assert (len(points), thinned) == (rows.POINTS_MAX, False)
