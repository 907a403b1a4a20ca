"""Making way on real processes: short jobs and questions slip in, hours begin and end, and no bit
changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.faked_clock import LIBRARIES, FakedClock
from tests.support.mute_model import MuteModel
from tests.support.stack import Stack, kill
from tests.support.waiting import wait_for
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.store.job import Job
from trainyard.store.keys import Key

WARM = "(parked before, goes on)"
STEPS = 800
HOUR_S = 3600
_names = (f"short-{n}" for n in itertools.count())


def start(stack: Stack, job_id: str, **fields: Any) -> None:
    """A long job, of which two of the same make the same weights."""
    training = {
        "batch_size": 1,
        "logging_steps": 50,
        "save_steps": 100,
        "eval_strategy": "no",
        "lr_scheduler_type": "cosine",
    }
    data = {"train_split": 1.0, "eval_split": 0.0}
    stack.submit(job_id, steps=STEPS, training=training, data=data, **fields)


def weights(stack: Stack, job_id: str) -> str:
    path = stack.home / "jobs" / job_id / "model" / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def reference(stack: Stack) -> str:
    """Weights of the job that nobody slipped into."""
    start(stack, "undisturbed")
    stack.wait("undisturbed", "completed")
    return weights(stack, "undisturbed")


def stored(stack: Stack, job_id: str) -> Job:
    job = stack.store.get(job_id)
    assert job is not None
    return job


@contextlib.contextmanager
def standing_still(stack: Stack, job_id: str) -> Iterator[str]:
    """A short job slips in, and the long one, which is asked to make way, makes no step meanwhile;
    all that is done inside it hears afterwards, at once."""
    with no_step(stack):
        short = next(_names)
        stack.submit(short, steps=2, slip_in=True, priority=0)
        wait_for("it is asked to make way", lambda: stored(stack, job_id).is_to_make_way)
        yield short


@contextlib.contextmanager
def no_step(stack: Stack) -> Iterator[None]:
    training = stack.training_process()
    training.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            training.resume()


def ask(stack: Stack, job_id: str, **question: Any) -> Iterator[dict[str, Any]]:
    """A question to the model of a job; it waits."""
    said = stack.bridge.generate(job_id, {"prompt": "2 + 2", "max_tokens": 4, **question})
    assert next(said)["kind"] == "waiting"
    return said


def has_stepped(job: Job) -> bool:
    """Since its start: only then a job is asked to make way."""
    started = job.status is JobStatus.RUNNING and job.attempt_started_at
    return bool(started) and (job.step_at or 0) > started


def test_short_jobs_slip_in(stack: Stack, reference: str) -> None:
    """Two of them, and one that is cancelled before it starts."""
    start(stack, "long")
    for number in (1, 2, 3):
        wait_for("it makes a step", lambda: has_stepped(stored(stack, "long")))
        with standing_still(stack, "long") as short:
            assert stack.bridge.status(short)["waiting_reason"].startswith("slips in: job long")
            if number == 3:
                stack.bridge.cancel(short, force=False)
        stack.wait(short, "cancelled" if number == 3 else "completed")
        wait_for("it goes on", lambda number=number: stack.log("long").count(WARM) == number)
        assert stored(stack, "long").ways_made == number
    stack.wait("long", "completed")
    job = stored(stack, "long")
    assert (job.attempt, job.restarts, job.put_backs, job.pauses) == (4, 0, 0, 0)
    assert weights(stack, "long") == reference
    stack.wait_delivered("long")
    assert stack.backend.statuses("long") == [*["running"] * 4, "completed"]


def test_a_cancel_while_it_makes_way_and_after(stack: Stack) -> None:
    start(stack, "not-wanted")
    wait_for("it makes a step", lambda: has_stepped(stored(stack, "not-wanted")))
    with standing_still(stack, "not-wanted") as short:
        stack.bridge.cancel("not-wanted", force=False)
    stack.wait("not-wanted", "cancelled")
    stack.wait(short, "completed")

    start(stack, "not-wanted-later")
    wait_for("it makes a step", lambda: has_stepped(stored(stack, "not-wanted-later")))
    short = next(_names)
    stack.submit(short, steps=100_000, slip_in=True, priority=0)
    stack.wait(short, "running")
    assert stored(stack, "not-wanted-later").made_way
    stack.bridge.cancel("not-wanted-later", force=False)
    stack.wait("not-wanted-later", "cancelled")
    stack.bridge.cancel(short, force=True)
    stack.wait(short, "cancelled")
    wait_for("nothing is left", lambda: not stack.training_processes())
    assert stack.redis.keys("trainyard.gpu*") == []


def test_who_is_killed_while_it_makes_way_loses_and_doubles_nothing(
    stack: Stack, reference: str
) -> None:
    """Supervisor, training and Redis in turn. At last a person's wish goes before: it is paused
    while it makes way, and paused it stays, with the short one on its slot."""
    start(stack, "struck")
    stack.wait_for_step("struck", 120)  # there is a checkpoint
    for which in ("supervisor", "training", "redis", "nobody"):
        wait_for("it makes a step", lambda: has_stepped(stored(stack, "struck")))
        training = stack.training_process()
        with standing_still(stack, "struck") as short:
            match which:
                case "supervisor":
                    kill(stack.worker_child(0))
                case "training":
                    training.kill()
                case "redis":
                    stack.redis_server.kill()
                    stack.redis_server.start()
                case _:
                    stack.bridge.pause("struck")
        stack.wait(short, "completed")
    stack.wait("struck", "paused")
    job = stored(stack, "struck")
    assert (job.attempt, job.restarts, job.ways_made, job.pauses) == (4, 2, 1, 1)
    stack.bridge.resume("struck")
    stack.wait("struck", "completed")
    assert weights(stack, "struck") == reference
    wait_for("nothing is left", lambda: not stack.training_processes())


def test_questions_slip_in_one_about_the_very_job(stack: Stack, reference: str) -> None:
    """One way is made for both, and the long one goes on by itself when they are answered; so it
    does after one that is withdrawn while way is made."""
    start(stack, "questioned")
    stack.wait_for_step("questioned", 120)  # there is a checkpoint
    with no_step(stack):
        about_it = ask(stack, "questioned", checkpoint=stored(stack, "questioned").checkpoint)
        told = next(one for one in about_it if one["makes_way"])
        assert (told["kind"], told["makes_way"]) == ("waiting", "questioned")
        another = ask(stack, "undisturbed")
    for said in (about_it, another):
        assert [one["kind"] for one in said if one["kind"] != "text"][-2:] == ["loading", "done"]
    answered_at = time.time()
    wait_for("it makes a step", lambda: has_stepped(stored(stack, "questioned")))
    assert stored(stack, "questioned").ways_made == 1
    with no_step(stack):
        withdrawn = ask(stack, "undisturbed")
        wait_for("it is asked to make way", lambda: stored(stack, "questioned").is_to_make_way)
        withdrawn.close()  # type: ignore[attr-defined]  # a generator
        wait_for("it is forgotten", lambda: not stack.redis.zcard(Key.GENERATIONS))
    stack.wait("questioned", "completed")
    job = stored(stack, "questioned")
    assert (job.completed_at or 0) > answered_at
    assert (job.attempt, job.ways_made, job.restarts, job.pauses) == (3, 2, 0, 0)
    assert stack.log("questioned").count(WARM) == 2
    assert "Made way: a question to job questioned slips in." in stack.log("questioned")
    assert weights(stack, "questioned") == reference


@pytest.mark.parametrize("which", ["who answers", "pool child", "worker"])
def test_who_is_killed_while_a_question_is_answered(
    stack: Stack, reference: str, mute: MuteModel, which: str
) -> None:
    """The question has failed, no more."""
    job_id = f"bystander-of-{which.replace(' ', '-')}"
    start(stack, job_id)
    wait_for("it makes a step", lambda: has_stepped(stored(stack, job_id)))
    with no_step(stack):
        said = ask(stack, mute.job_id)
        training = stack.training_process()
    while next(said)["kind"] != "loading":
        pass
    match which:
        case "who answers":
            [answering] = [p for p in stack.attempt_processes("training") if p != training]
            answering.kill()
        case "pool child":
            kill(stack.worker_child(0))
        case _:
            stack.kill_worker(0)
            stack.workers[0].start()
    assert list(said)[-1]["kind"] == "failed"
    stack.wait(job_id, "completed")
    job = stored(stack, job_id)
    assert (job.ways_made, job.restarts) == (1, 0)
    assert weights(stack, job_id) == reference
    wait_for("nothing is left", lambda: not stack.training_processes())


def leave_the_hours(stack: Stack, clock: FakedClock, job_id: str) -> None:
    """Let the clock pass the hours' end while the job runs, and the job make way."""
    training = stack.training_process()
    training.suspend()  # it makes no step before it is asked
    clock.set_by(3 * HOUR_S)
    wait_for("it is asked to make way", lambda: stored(stack, job_id).is_to_make_way)
    training.resume()
    wait_for("it made way", lambda: stored(stack, job_id).made_way)


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed")
def test_the_hours_end_and_begin(tmp_path: Path, reference: str) -> None:
    """By Redis's clock, which is set; once the process goes on, once all is started again."""
    clock = FakedClock(tmp_path / "offset")
    now = datetime.now(UTC)
    first, end = now - timedelta(hours=1), now + timedelta(hours=2)
    hours = f"{first:%H:%M}-{end:%H:%M} UTC"
    with Stack(redis_environment=clock.environment, ACTIVE_HOURS=hours) as stack:
        assert stack.bridge._call("GET", "/health")["slot_hours"] == {"test-0": hours}
        start(stack, "night")
        wait_for("it makes a step", lambda: has_stepped(stored(stack, "night")))
        leave_the_hours(stack, clock, "night")
        assert stored(stack, "night").parked == "night:1"
        wait_for("the slot rests", lambda: state(stack) is SlotState.RESTING)
        health = stack.bridge._call("GET", "/health")
        assert (health["status"], health["reasons"]) == ("ok", [])
        assert f"its hours (ACTIVE_HOURS) are {hours}" in health["slots_out_of_service"]["test-0"]
        waits = stack.bridge.status("night")["waiting_reason"]
        assert "waits for the hours of its slots (ACTIVE_HOURS): test-0 until" in waits
        clock.set_by(21 * HOUR_S)
        wait_for("it goes on in its process", lambda: WARM in stack.log("night"))
        leave_the_hours(stack, clock, "night")
        stack.workers[0].stop(60)
        stack.bridge_process.stop(30)
        stack.redis_server.restart()
        stack.bridge_process.start()
        stack.workers[0].start()
        wait_for("the bridge answers", stack.bridge_answers)
        wait_for("the slot rests", lambda: state(stack) is SlotState.RESTING)
        assert stored(stack, "night").status is JobStatus.QUEUED
        clock.set_by(-3 * HOUR_S)  # back into the hours
        stack.wait("night", "completed")
        job = stored(stack, "night")
        assert (job.attempt, job.restarts, job.ways_made) == (3, 0, 2)
        assert weights(stack, "night") == reference


def state(stack: Stack) -> SlotState | None:
    present = SlotRegistry(stack.redis).present()
    return present[0].state if present else None
