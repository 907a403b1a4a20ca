"""A job whose checkpoints lie on a host that is not there: it waits, and says for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backend_bridge.intake.job_control import JobControl
from backend_bridge.reaper import Reaper
from tests.support.celery_app import bridge_celery
from tests.support.redis_server import RedisServer
from tests.support.requests import start_request
from tests.support.store_calls import job_store
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.dispatch import open_dispatcher
from trainyard.scheduling.host_waits import waits_for
from trainyard.scheduling.slots import SlotState
from trainyard.settings import read_settings
from trainyard.store.job import Job
from trainyard.store.job_files import JobFiles

JOB = "job-1"


class TwoHosts:
    """The slots ``first-0`` and ``second-0`` with homes of their own, a reaper, and a job that the
    second has put back with a checkpoint."""

    def __init__(self, redis: Any, app: Any) -> None:
        self.redis = redis
        self.store = job_store(redis)
        self.dispatcher = open_dispatcher(self.store, app, redis)
        self.slots, self.queue = self.dispatcher.slots, self.dispatcher.queue
        self.reaper = Reaper(self.dispatcher)
        self.control = JobControl(self.dispatcher, JobFiles(read_settings()))
        for host in ("first", "second"):
            self.come(host)
        self.store.admit(start_request(JOB), slots=2)
        assert self.claim("second")
        redis.hset(f"trainyard:job:{JOB}", "checkpoint", "checkpoints/checkpoint-4")

    def come(self, host: str) -> None:
        self.slots.beat(f"{host}-0", {"gpus": [], "home": host})
        self.slots.stamp(f"{host}-0", SlotState.CONSUMING)

    def claim(self, host: str) -> bool:
        """As a worker does that has the job's message."""
        attempt = self.job.attempt
        self.queue.remove(f"{JOB}:{attempt}")
        return self.store.claim(JOB, attempt, slot=f"{host}-0", worker="w", home=host)

    def put_back(self) -> None:
        assert self.store.put_back(JOB, self.job.attempt, "its worker stopped.")
        self.dispatcher.send(JOB)

    def rounds(self) -> None:
        """A job must be found missing twice before it is sent again."""
        for _ in range(3):
            self.reaper.send_again()

    @property
    def job(self) -> Job:
        job = self.store.get(JOB)
        assert job is not None
        return job

    def offered_to(self, host: str) -> bool:
        """Whether a worker of that host may take the job's message."""
        return self.job.attempt_id in self.queue.attempts([f"{host}-0"])

    @property
    def waits(self) -> bool:
        return JOB in self.dispatcher.host_waits.waited_s()


@pytest.fixture
def yard(redis_server: RedisServer, real_redis: Any) -> Iterator[TwoHosts]:
    with bridge_celery(redis_server.url) as app:
        yield TwoHosts(real_redis, app)


def test_it_waits_for_its_host_and_goes_on_there(yard: TwoHosts) -> None:
    yard.slots.leave("second-0")
    yard.put_back()
    yard.rounds()
    assert yard.waits
    assert not yard.offered_to("first")
    assert waits_for(yard.job).startswith("waits for host second, which has its checkpoints")
    yard.come("second")
    yard.rounds()
    assert not yard.waits
    assert not yard.offered_to("first")
    assert yard.offered_to("second")
    assert yard.claim("second")


def test_a_host_that_goes_while_its_message_waits(yard: TwoHosts) -> None:
    yard.put_back()
    assert yard.offered_to("second")
    yard.slots.leave("second-0")
    yard.rounds()
    assert yard.waits
    assert not yard.offered_to("first")


def test_of_hosts_that_all_stop_the_first_one_to_start_takes_nothing_of_the_others(
    yard: TwoHosts,
) -> None:
    """The steps of docs/how-to/upgrading.md: the last to stop knows no other home."""
    yard.slots.leave("first-0")
    yard.put_back()
    yard.slots.leave("second-0")
    assert yard.offered_to("first"), "to any"
    yard.come("first")
    assert not yard.claim("first")
    yard.rounds()
    assert yard.waits
    yard.come("second")
    yard.rounds()
    assert yard.claim("second")


def test_it_starts_afresh_only_when_a_person_says_so(yard: TwoHosts) -> None:
    yard.slots.leave("second-0")
    yard.put_back()
    said = yard.control.force_start(JOB)
    assert (said.success, "waits for host second" in said.message) == (True, True)
    assert "`trainyard force-start job-1 --from-start`" in said.message
    assert not yard.offered_to("first")
    said = yard.control.force_start(JOB, from_start=True)
    assert said.message == "job job-1 is queued, to start from the beginning"
    assert not yard.waits
    assert yard.claim("first")
    assert yard.job.from_start


def test_a_resume_says_that_it_waits_and_a_chosen_checkpoint_is_refused(yard: TwoHosts) -> None:
    yard.store.pause(JOB)
    assert yard.store.paused(JOB, 1, {"checkpoint": "checkpoints/checkpoint-4"})
    yard.slots.leave("second-0")
    refused = yard.control.resume(JOB, "checkpoints/checkpoint-2")
    assert not refused.success
    assert "not there, checkpoints/checkpoint-2 cannot be read" in refused.message
    said = yard.control.resume(JOB)
    assert said.message.startswith("job job-1 is queued: it waits for host second")
    assert yard.waits
    yard.control.cancel(JOB)
    assert not yard.waits, "who does not wait is forgotten"


def test_a_job_at_the_head_of_its_host_s_queue_is_for_no_other(yard: TwoHosts) -> None:
    yard.put_back()
    assert yard.control.force_start(JOB).message == "job job-1 runs next"
    assert not yard.offered_to("first")
    assert yard.offered_to("second")


def test_home_wait_hours_end_the_wait_with_the_reason(yard: TwoHosts) -> None:
    yard.reaper.home_wait_s = 3600
    yard.slots.leave("second-0")
    yard.put_back()
    yard.rounds()
    assert yard.job.status is JobStatus.QUEUED
    yard.redis.zincrby("trainyard:host-waits", -3601, JOB)
    yard.rounds()
    error = yard.job.error
    assert error is not None
    assert error.message == "It has waited 1 hours for the host second, which has its checkpoints."
    assert "--from-start" in error.hint
    assert not yard.waits


def test_one_that_waits_for_its_host_hides_no_other_that_is_missing(yard: TwoHosts) -> None:
    yard.slots.leave("second-0")
    yard.put_back()
    yard.store.admit(start_request("job-2"), slots=2)  # and its message is lost
    yard.rounds()
    assert "job-2:1" in yard.queue.attempts(["first-0"])


def test_a_job_that_goes_on_from_another_waits_for_the_host_of_that(yard: TwoHosts) -> None:
    origin = replace(yard.job, status=JobStatus.COMPLETED)
    yard.store.admit(start_request("dpo", model={"name": f"job:{JOB}"}), slots=2, origin=origin)
    yard.slots.leave("second-0")
    yard.dispatcher.send("dpo")
    yard.rounds()
    job = yard.store.get("dpo")
    assert job is not None
    assert "dpo" in yard.dispatcher.host_waits.waited_s()
    assert waits_for(job) == "waits for host second, which has what it goes on from, the job job-1"
    assert "dpo:1" not in yard.queue.attempts(["first-0"])
    yard.come("second")
    yard.rounds()
    assert "dpo:1" in yard.queue.attempts(["second-0"])
    assert "dpo:1" not in yard.queue.attempts(["first-0"])
