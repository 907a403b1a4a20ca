"""What the page writes: tags and notes, jobs that are deleted, jobs that are started."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend_bridge.dev_backend import start_api
from backend_bridge.dev_backend.app import create_app
from backend_bridge.dev_backend.bridge_link import BridgeLink, News
from backend_bridge.dev_backend.database import Database
from backend_bridge.dev_backend.feed import Feed
from trainyard import settings

LOCAL = "/api/training/local"
ROWS = f"{LOCAL}/jobs"
AGENT_KEY = "key-of-the-agents"
REQUEST = {"dataset_path": "rows.jsonl", "config": {"model": {"name": "tiny"}}}


class ToldBridge(BridgeLink):
    """A bridge that answers as a test tells it to."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9", None)
        self.answer: tuple[int, dict[str, Any]] = (200, {})
        self.calls: list[tuple[str, str]] = []

    def _call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        self.calls.append((method, path))
        return self.answer


@pytest.fixture
def bridge() -> ToldBridge:
    return ToldBridge()


@pytest.fixture
def client(
    bridge: ToldBridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setenv("DATASET_ROOTS", str(tmp_path / "data"))
    settings.settings.cache_clear()
    (tmp_path / "data").mkdir()
    (tmp_path / "outside.jsonl").write_text("{}")
    database = Database(tmp_path / "jobs.sqlite3")
    app = create_app(database, Feed(), bridge=bridge, agent_key=AGENT_KEY)
    yield TestClient(app, base_url="http://127.0.0.1:3000")
    database.close()
    settings.settings.cache_clear()


def make(client: TestClient) -> None:
    row = {"job_id": "a", "job_token": "t", "config": {"training": {"learning_rate": 0.5}}}
    assert client.post(ROWS, json=row).status_code == 201


def listed(client: TestClient) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = client.get(ROWS).json()["jobs"]
    return jobs


def test_tags_and_notes(client: TestClient) -> None:
    make(client)
    remarks = {"tags": ["x", "y", "x"], "notes": "slow"}
    assert client.put("/api/dev/jobs/a/remarks", json=remarks).status_code == 200
    (job,) = listed(client)
    assert (job["tags"], job["notes"]) == (["x", "y"], "slow")
    assert (job["method"], job["learning_rate"]) == ("sft", 0.5)
    assert client.put("/api/dev/jobs/b/remarks", json=remarks).status_code == 404
    for wrong in ({"tags": ["x" * 51], "notes": ""}, {"tags": [], "notes": "n" * 10_001}):
        assert client.put("/api/dev/jobs/a/remarks", json=wrong).status_code == 400


def test_a_row_goes_only_if_the_workers_let_the_job_go(
    client: TestClient, bridge: ToldBridge
) -> None:
    make(client)
    for code in (409, 502):
        bridge.answer = (code, {"error": "not now"})
        refused = client.delete("/api/dev/jobs/a")
        assert (refused.status_code, refused.json()) == (code, {"error": "not now"})
        assert len(listed(client)) == 1
    bridge.answer = (404, {"error": "there is no such job"})
    assert client.delete("/api/dev/jobs/a").status_code == 200
    assert listed(client) == []
    assert bridge.calls[-1] == ("DELETE", "/api/training/jobs/a")


def test_a_start_makes_a_row_and_a_refused_one_leaves_none(
    client: TestClient, bridge: ToldBridge
) -> None:
    wrong = {**REQUEST, "config": {"model": {"name": "tiny"}, "training": {"batch_size": "many"}}}
    refused = client.post("/api/dev/start", json=wrong)
    assert refused.status_code == 422
    assert "config.training.batch_size" in refused.json()["error"]
    bridge.answer = (409, {"error": "The queue is full"})
    assert client.post("/api/dev/start", json=REQUEST).json() == {"error": "The queue is full"}
    assert listed(client) == []
    bridge.answer = (200, {})
    started = client.post("/api/dev/start", json=REQUEST)
    assert started.status_code == 201
    assert [job["job_id"] for job in listed(client)] == [started.json()["job_id"]]


@pytest.mark.parametrize("path", ["../outside.jsonl", "/etc/passwd", "nowhere.jsonl"])
def test_what_lies_outside_of_the_roots_is_not_checked(client: TestClient, path: str) -> None:
    answer = client.post("/api/dev/start/check", json={**REQUEST, "dataset_path": path})
    assert answer.status_code == 404
    several = {"config": REQUEST["config"], "datasets": [{"path": path}]}
    assert client.post("/api/dev/start/check", json=several).status_code == 404


SECRET = "hunter2-hunter2"
WHOLE, CLEAN = f"https://user:{SECRET}@host/a", "https://host/a"
ASKED = {
    "job_id": "a",
    "dataset_path": WHOLE,
    "config": {"dataset_path": WHOLE, "datasets": [{"path": WHOLE}]},
}


@pytest.mark.parametrize("is_fetched", [False, True])
def test_a_secret_in_an_url_is_shown_to_none_but_who_fetches_the_job(
    client: TestClient, tmp_path: Path, is_fetched: bool
) -> None:
    row = ASKED if is_fetched else {**ASKED, "job_token": "t"}
    made = client.post(ROWS, json=row)
    read = [client.get(path).text for path in (ROWS, f"{LOCAL}/a/status", "/api/dev/points/a")]
    assert not any(SECRET in text for text in (made.text, *read))
    assert listed(client)[0]["dataset_path"] == CLEAN
    assert (SECRET in stored(tmp_path)) is is_fetched
    if is_fetched:
        headers = {"Authorization": f"Bearer {AGENT_KEY}", "X-Agent-ID": "agent-0123456"}
        job = client.get("/api/training/agent/poll", headers=headers).json()["job"]
        assert {name: job[name] for name in ("dataset_path", "config")} == {
            name: ASKED[name] for name in ("dataset_path", "config")
        }


def stored(home: Path) -> str:
    """All that the database has of its jobs."""
    with sqlite3.connect(home / "jobs.sqlite3") as connection:
        return repr(connection.execute("SELECT * FROM jobs").fetchall())


def test_a_data_set_is_checked_by_its_whole_url(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = list[dict[str, Any]]()

    async def checked(spec: dict[str, Any]) -> dict[str, Any]:
        specs.append(spec)
        return {}

    monkeypatch.setattr(start_api, "_checked", checked)
    for body in ({"dataset_path": WHOLE}, {"datasets": [{"path": WHOLE}, {"path": f"{CLEAN}/b"}]}):
        answer = client.post("/api/dev/start/check", json={"config": REQUEST["config"], **body})
        assert answer.status_code == 200
    one, several = specs
    assert one["path"] == WHOLE
    assert several["path"] == f"{CLEAN}, {CLEAN}/b"
    assert [each["path"] for each in several["config"]["datasets"]] == [WHOLE, f"{CLEAN}/b"]


def test_a_lost_loss_is_forgotten_and_points_have_their_time(client: TestClient) -> None:
    make(client)
    points = [
        {"step": 1, "epoch": 0, "train_loss": 2.0, "learning_rate": 0.1},
        {"step": 2, "epoch": 0, "learning_rate": 0.1, "timestamp": "2026-01-01T00:00:00Z"},
    ]
    for point in points:
        assert client.put(
            "/api/training/local/a/metrics", json=point, headers={"Authorization": "Bearer t"}
        ).is_success
    assert "train_loss" not in listed(client)[0]["latest"]
    told = client.get("/api/dev/points/a").json()["points"]
    assert all(point["at"] for point in told)


def test_the_list_hears_what_has_changed() -> None:
    now: dict[str, Any] = {"a": 1, "b": 2}
    news = News(lambda: dict(now))
    assert news() == {"is_whole": True, "values": {"a": 1, "b": 2}}
    assert news() is None
    now.update(a=3)
    del now["b"]
    assert news() == {"is_whole": False, "values": {"a": 3, "b": None}}
