"""An attempt that is asked to make way: what its training is told, and how it ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trainyard.contract.events import Outcome
from trainyard.settings import read_settings
from trainyard.store.attempt_writes import Renewal
from worker.slot_process.protocol import Gone, Parked
from worker.supervisor.attempt_end import (
    AttemptCancelled,
    AttemptCompleted,
    AttemptEnd,
    AttemptMadeWay,
    AttemptPaused,
    AttemptPutBack,
    Conclusion,
    Course,
    Rest,
)
from worker.supervisor.supervisor import Supervisor

WHY = "job short slips in"
PARKED = Outcome(outcome="paused", result={"checkpoint": "c/checkpoint-4", "parked": True})
LEFT = Outcome(outcome="paused", result={"checkpoint": "c/checkpoint-4"})
BEFORE_A_STEP = Outcome(outcome="paused", result={"checkpoint": None})
DONE = Outcome(outcome="completed", result={"final_loss": 0.5})
GONE = Gone(exit_code=0, signal=None, killed_descendants=0)
REST = Rest(checkpoint="c/checkpoint-4", parked="", parked_on="", parked_worker="")
IN_ITS_PROCESS = Rest(
    checkpoint="c/checkpoint-4", parked="j:1", parked_on="box-0", parked_worker="w"
)


@pytest.mark.parametrize(
    ("course", "end"),
    [
        (Course(PARKED, Parked(), make_way=WHY), AttemptMadeWay(rest=IN_ITS_PROCESS, because=WHY)),
        (Course(LEFT, GONE, make_way=WHY), AttemptMadeWay(rest=REST, because=WHY)),
        (
            Course(BEFORE_A_STEP, GONE, make_way=WHY),
            AttemptMadeWay(rest=REST.model_copy(update={"checkpoint": ""}), because=WHY),
        ),
        (Course(PARKED, Parked(), "pause", make_way=WHY), AttemptPaused(rest=IN_ITS_PROCESS)),
        (Course(LEFT, GONE, "pause", make_way=WHY), AttemptPaused(rest=REST)),
        (Course(PARKED, Parked(), "cancel"), AttemptPaused(rest=IN_ITS_PROCESS)),
        (Course(PARKED, GONE, "cancel", make_way=WHY), AttemptCancelled()),
        (Course(LEFT, GONE, "", "it stops", make_way=WHY), AttemptPutBack(because="it stops")),
        (Course(DONE, GONE, make_way=WHY), AttemptCompleted(result={"final_loss": 0.5})),
    ],
)
def test_the_end(course: Course, end: AttemptEnd) -> None:
    cancel = "asked" if course.asked == "cancel" else ""
    job: Any = SimpleNamespace(job_id="j", attempt=1, cancel=cancel)
    store: Any = SimpleNamespace(get=lambda _: job)
    here: Any = SimpleNamespace(socket_name="s", name="box-0")
    assert Conclusion(store, here, "w", job, course).draw(fenced=False) == end


class Asked:
    """A supervisor without processes; ``told``: what its training was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        link: Any = SimpleNamespace(keeper=SimpleNamespace(), command=self.told.append)
        log: Any = SimpleNamespace(say=lambda *_: None)
        nothing: Any = None
        current = read_settings(redis_url="redis://127.0.0.1")
        self.supervisor = Supervisor(current, link, nothing, nothing, log, nothing, nothing)

    def hear(self, status: str = "running", **more: Any) -> Course:
        self.supervisor._heed(Renewal(True, status, more.pop("cancel", ""), **more))
        return self.supervisor.course


def test_it_is_told_once_and_a_person_s_pause_comes_before() -> None:
    asked = Asked()
    for _ in range(3):
        course = asked.hear(make_way=WHY)
    assert (asked.told, course.make_way, course.asked) == (["pause"], WHY, "")
    assert course.is_to_rest
    course = asked.hear("pausing", make_way=WHY)
    assert (course.asked, course.is_to_rest) == ("pause", True)


def test_a_cancel_goes_before_and_keeps_its_limit() -> None:
    asked = Asked()
    asked.hear(make_way=WHY)
    course = asked.hear("cancelling", cancel="asked", make_way=WHY)
    assert (asked.told, course.is_to_rest) == (["pause", "cancel"], False)
    limit = asked.supervisor._kill_at
    assert limit is not None

    other = Asked()
    other.hear("cancelling", cancel="asked")
    course = other.hear("cancelling", cancel="asked", make_way=WHY)
    assert (other.told, course.make_way) == (["cancel"], "")
    assert other.supervisor._kill_at is not None


def test_a_worker_that_stops_has_its_limit_too() -> None:
    asked = Asked()
    asked.hear(put_back=True)
    course = asked.hear(put_back=True, make_way=WHY)
    assert (asked.told, course.make_way) == (["pause"], "")
    assert asked.supervisor._kill_at is not None
