"""Who makes way: of the lowest priority, not a slip-in itself, with the most work left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainyard.contract.generation.messages import AskedOfJob, GenerateBody
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.making_way.slip_ins import who_makes_way
from trainyard.store.job import Job

NOW_S = 1_800_000_000.0
SHORT = Job("short", JobStatus.QUEUED, attempt=1, created_at=0, updated_at=0, slip_in="1")
BOUND = replace(SHORT, home="h", checkpoint="checkpoints/checkpoint-4")


def running(name: str, *, left_s: float | None = 100, **fields: Any) -> Job:
    progress = {} if left_s is None else {"remaining_seconds": left_s}
    known = {"attempt_started_at": 10.0, "step_at": 20.0, "home": "h", "progress": progress}
    return Job(
        name, JobStatus.RUNNING, attempt=3, created_at=0, updated_at=0, **{**known, **fields}
    )


def ms_ago(*seconds: float) -> list[int]:
    return [int(1000 * (NOW_S - ago)) for ago in seconds]


@pytest.mark.parametrize(
    ("jobs", "chosen"),
    [
        ([], None),
        ([running("a"), running("b", left_s=200)], "b"),
        ([running("a", left_s=None), running("b", left_s=200)], "a"),
        ([running("a", priority=6), running("b", left_s=200)], "a"),
        ([running("a", priority=0)], None),
        ([running("a", slip_in="1")], None),
        ([running("a", make_way="3 x")], None),
        ([running("a", make_way="2 x")], "a"),
        ([running("a", step_at=9.0)], None),
        ([running("a", step_at=None)], None),
        ([replace(running("a"), status=JobStatus.PAUSING)], None),
        ([replace(running("a"), status=JobStatus.CANCELLING)], None),
        ([running("a", slipped_at=ms_ago(10, 3599))], None),
        ([running("a", slipped_at=ms_ago(10, 3600))], "a"),
        ([running("a", slipped_at=ms_ago(-5, 10))], "a"),
    ],
)
def test_the_choice(jobs: list[Job], chosen: str | None) -> None:
    found = who_makes_way(jobs, SHORT, 2, NOW_S)
    assert (found.job_id if found else None) == chosen
    assert who_makes_way(jobs, SHORT, 0, NOW_S) is None, "it is turned off"


def test_a_slot_that_does_not_see_its_files_is_of_no_use() -> None:
    far, near = running("far", left_s=500, home="other"), running("near")
    assert who_makes_way([far, near], SHORT, 1, NOW_S) == far
    assert who_makes_way([far, near], BOUND, 1, NOW_S) == near


def test_a_question_that_one_slot_can_answer_asks_there() -> None:
    jobs = [running("far", left_s=500, slot="box-0"), running("near", slot="box-1")]
    asked = AskedOfJob(job_id="made", attempt=1, question=GenerateBody(prompt="2 + 2"))
    assert who_makes_way(jobs, asked, 1, NOW_S) == jobs[0]
    assert who_makes_way(jobs, asked.model_copy(update={"slot": "box-1"}), 1, NOW_S) == jobs[1]
