"""What people ask of a job through the bridge: cancel, pause, resume, force-start, remove."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from backend_bridge.intake.job_control import no_such_job
from tests.support.bridge import Running, refusal
from trainyard.store.keys import Key


def test_cancel_of_a_queued_job(bridge: Running) -> None:
    bridge.start()
    answer = bridge.client.post("/api/training/cancel/job-1")
    expected = {
        "success": True,
        "message": "job job-1 is cancelled",
        "job_id": "job-1",
        "previous_status": "queued",
    }
    assert expected.items() <= answer.json().items()
    again = bridge.client.post("/api/training/cancel/job-1")
    assert (again.status_code, again.json()["success"]) == (409, False)
    assert "already ended: it is cancelled" in again.json()["message"]
    assert bridge.client.app.state.bridge.queue.count([]) == 0


def test_cancel_of_a_running_job_and_then_by_force(busy: Running) -> None:
    assert busy.client.post("/api/training/cancel/job-1", json={}).json()["success"] is True
    job = busy.store.get("job-1")
    assert job is not None
    assert (job.status, job.cancel) == ("cancelling", "asked")

    def chunks() -> Iterator[bytes]:
        yield b'{"force": true}'  # without a Content-Length

    busy.client.post("/api/training/cancel/job-1", content=chunks())
    job = busy.store.get("job-1")
    assert job is not None
    assert job.cancel == "forced"


@pytest.mark.parametrize("what", ["revoke", "remove", "release_parked", "enqueue"])
def test_an_answer_does_not_depend_on_the_broker(
    bridge: Running, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """After a restart of Redis the broker's pooled connections fail once; the store has it."""

    def broken(*_: Any, **__: Any) -> None:
        raise ConnectionError("Connection closed by server.")

    queue = bridge.client.app.state.bridge.queue  # type: ignore[attr-defined]
    bridge.start()
    if what == "revoke":
        assert bridge.store.claim("job-1", 1, slot="s", worker="w")
    monkeypatch.setattr(queue, what, broken)
    acts = {"enqueue": ["pause", "resume"], "revoke": ["cancel"]}.get(what, ["pause", "cancel"])
    if what == "release_parked":
        assert bridge.store.claim("job-1", 1, slot="s", worker="w")
        bridge.store.pause("job-1")
        bridge.store.paused("job-1", 1, {"parked": "job-1:1", "parked_worker": "w"})
        acts = ["cancel"]
    for act in acts:
        answer = bridge.client.post(f"/api/training/{act}/job-1", json={"force": True})
        assert (answer.status_code, answer.json()["success"]) == (200, True), answer.text


def test_cancel_of_nobody_and_with_nonsense(bridge: Running) -> None:
    answer = bridge.client.post("/api/training/cancel/nobody")
    assert (answer.status_code, answer.json()["message"]) == (404, no_such_job("nobody"))
    assert "`trainyard ps`" in answer.json()["message"]
    refusal(bridge.client.post("/api/training/cancel/nobody", content=b"{"), 400)


def paused(bridge: Running) -> None:
    bridge.start()
    assert bridge.client.post("/api/training/pause/job-1").json()["success"] is True
    assert bridge.get("status/job-1").json()["status"] == "paused"


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "checkpoints/../../other/checkpoint-4", "checkpoint-",
     "checkpoints/checkpoint-4/../..", "checkpoint-4\0", "checkpoint-٤", "checkpoint-4\n", "."],
)  # fmt: skip
@pytest.mark.parametrize("where", ["query", "body"])
def test_resume_from_what_is_no_checkpoint(bridge: Running, path: str, where: str) -> None:
    paused(bridge)
    sent = {"params" if where == "query" else "json": {"checkpoint_path": path}}
    answer = bridge.client.post("/api/training/resume/job-1", **sent)
    assert (answer.status_code, answer.json()["success"]) == (409, False)
    assert "is no checkpoint" in answer.json()["message"]
    assert bridge.get("status/job-1").json()["status"] == "paused"


@pytest.mark.parametrize("body", [{"checkpoint_path": 5}, {"checkpoint_path": ["x"]}, [], 5, "x"])
def test_resume_with_a_body_of_another_shape_is_no_crash(bridge: Running, body: Any) -> None:
    paused(bridge)
    answer = bridge.client.post("/api/training/resume/job-1", json=body)
    assert answer.status_code < 500
    assert isinstance(answer.json()["message"], str)


def test_pause_and_resume_of_a_waiting_job(bridge: Running) -> None:
    paused(bridge)
    answer = bridge.client.post("/api/training/resume/job-1")
    assert (answer.status_code, answer.json()["previous_status"]) == (200, "paused")
    job = bridge.store.get("job-1")
    assert job is not None
    assert (job.status, job.attempt) == ("queued", 2)


@pytest.mark.parametrize("path", ["pause/job-1", "resume/job-1", "job-1/force-start"])
def test_what_an_ended_job_does_not_do(bridge: Running, path: str) -> None:
    bridge.start()
    bridge.store.claim("job-1", 1, slot="s", worker="w")
    bridge.store.complete("job-1", 1, {})
    answer = bridge.client.post(f"/api/training/{path}")
    assert (answer.status_code, answer.json()["success"]) == (409, False)
    assert "completed" in answer.json()["message"]
    nobody = bridge.client.post(f"/api/training/{path.replace('job-1', 'nobody')}")
    assert (nobody.status_code, nobody.json()["message"]) == (404, no_such_job("nobody"))


def test_a_refusal_says_which_command_does_it(bridge: Running) -> None:
    bridge.start()
    bridge.client.post("/api/training/cancel/job-1")
    refused = bridge.client.post("/api/training/resume/job-1").json()["message"]
    assert refused.endswith("it is cancelled; `trainyard force-start job-1` queues it again")
    bridge.start("job-2")
    bridge.client.post("/api/training/pause/job-2")
    refused = bridge.client.post("/api/training/job-2/force-start").json()["message"]
    assert refused.endswith("it is paused; `trainyard resume job-2` goes on with it")


def test_a_checkpoint_that_is_none_and_where_they_are_listed(bridge: Running) -> None:
    paused(bridge)
    sent = {"checkpoint_path": "nonsense"}
    message = bridge.client.post("/api/training/resume/job-1", json=sent).json()["message"]
    assert "; `trainyard checkpoints job-1` lists them; job job-1 stays paused" in message


def test_a_job_is_removed_once_it_has_ended_and_is_reported(bridge: Running) -> None:
    refusal(bridge.client.delete("/api/training/jobs/job-1"), 404)
    bridge.start()
    assert (
        "job-1 is queued" in refusal(bridge.client.delete("/api/training/jobs/job-1"), 409)["error"]
    )
    bridge.client.post("/api/training/cancel/job-1")
    unsaid = refusal(bridge.client.delete("/api/training/jobs/job-1"), 409)
    assert "has not got every report" in unsaid["error"]
    bridge.client.app.state.bridge.redis.zrem(Key.UNDELIVERED, "job-1")  # type: ignore[attr-defined]
    answer = bridge.client.delete("/api/training/jobs/job-1")
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert bridge.get("status/job-1").status_code == 404
