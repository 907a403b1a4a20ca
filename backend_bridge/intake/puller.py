"""Puller: jobs of a backend that cannot reach this yard, one at a time, when a slot is free.

One courier of a home is at it at a time (a lock on the home), and one of the whole yard asks in
each interval (a key in Redis). A job goes through the admission of every other way in, and is
reported as every other. What was claimed is written down first (``pull_notes``).
"""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from backend_bridge.intake.admission import Admission, AdmissionRefused, LimitReached
from backend_bridge.intake.job_control import JobControl
from backend_bridge.intake.pull_notes import PullNotes
from backend_bridge.intake.refusals import Refusals, refusal_of, without_token
from trainyard.contract.request import RequestInvalid
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.pull import PullClient, PullTrouble, pull_client, pull_folder
from trainyard.scheduling.slots import SlotRegistry
from trainyard.settings import Settings
from trainyard.store.keys import JobKey, Key

LOOK_EVERY_S = 1.0
BUSY_FOR_MS = 60_000
"""Longer than a poll and a claim take; a puller that died keeps the others off for so long."""
AFTER_TROUBLE_S = 10.0
logger = logging.getLogger(__name__)


class Puller:
    """Fetches jobs through ``client``. ``look_every_s``: seconds between two looks at what is left
    to do, and at whether it is time to ask."""

    def __init__(
        self,
        redis: Redis,
        client: PullClient,
        notes: PullNotes,
        admission: Admission,
        control: JobControl,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self.client = client
        self.notes = notes
        self.admission = admission
        self.control = control
        self.refusals = Refusals(redis)
        self.slots = SlotRegistry(redis)
        self.look_every_s = look_every_s
        self._trouble = ""

    def run(self, stop: threading.Event) -> None:
        """Fetch jobs until ``stop`` is set; outages of backend and Redis are waited for."""
        while not stop.wait(self.look_every_s):
            with self._this_home() as mine:
                if mine:
                    self._look()

    def _look(self) -> None:
        try:
            self.go_on()
            if self.redis.set(Key.PULL, "1", nx=True, px=BUSY_FOR_MS):
                self._ask()
            self._say("")
        except PullTrouble as trouble:
            self._say(str(trouble))
        except RedisError as error:
            self._say(f"Redis is away ({type(error).__name__})")

    def _ask(self) -> None:
        interval_s = AFTER_TROUBLE_S
        try:
            poll = self.client.poll()
            interval_s = poll.interval_s
            if poll.job is not None and self._slot_is_free():
                self.fetch(poll.job)
                interval_s = 0.001  # another may wait, and another slot be free
        finally:
            self.redis.pexpire(Key.PULL, max(1, int(1000 * interval_s)))

    def go_on(self) -> None:
        """Finish what a puller of this home began. Raises PullTrouble."""
        for job_id, note in self.notes.left():
            if "body" in note:
                self._admit(job_id, note)
            else:
                self._claim(job_id, note["job"], again=True)

    def fetch(self, job: Mapping[str, Any]) -> None:
        """Claim a job and have it run. Raises PullTrouble."""
        self.notes.write(job["id"], {"job": dict(job)})
        self._claim(job["id"], job, again=False)

    def _claim(self, job_id: str, job: Mapping[str, Any], *, again: bool) -> None:
        claim = self.client.claim(job_id)
        if claim.token:
            note = {"body": body_of({**job, **(claim.job or {})}, claim.token)}
            self.notes.write(job_id, note)
            self._admit(job_id, note)
        elif again:
            self.notes.lose(job_id)
            logger.error(
                "job %s was claimed and the answer was lost: start it again at the backend (%s)",
                job_id,
                claim.refused,
                extra={"action": "claim_lost", "job_id": job_id},
            )
        else:
            self.notes.forget(job_id)

    def _admit(self, job_id: str, note: dict[str, Any]) -> None:
        """Have a claimed job run, or the backend told why it cannot.

        The note says ``again`` if the job was here before: then it has to be started again.
        """
        body, known = note["body"], self.redis.get(JobKey.TOKEN.of(job_id))
        if known == body["job_token"] and "again" not in note:
            self.notes.forget(job_id)  # this claim was admitted, or refused and told
            return
        if "again" not in note and self.admission.store.get(job_id) is not None:
            note["again"] = True
            self.notes.write(job_id, note)
        try:
            admitted = self.admission.admit(body)
            reason = self._start_again(job_id, admitted.status) if "again" in note else ""
        except LimitReached:
            return  # the note stays
        except (RequestInvalid, AdmissionRefused) as error:
            reason = without_token(str(error), body)
        if reason:
            refusal = refusal_of(body, f"pull:{body['job_token']}", reason)
            if refusal is not None:
                self.refusals.tell(refusal, self.redis, even_if_ended=True)
        self.notes.forget(job_id)
        logger.info(
            "job %s was fetched%s",
            job_id,
            f" and refused: {reason}" if reason else "",
            extra={"action": "job_fetched", "job_id": job_id},
        )

    def _start_again(self, job_id: str, status: str) -> str:
        """The backend gave a job that was here before; "" or why it cannot run again."""
        match status:
            case JobStatus.FAILED | JobStatus.CANCELLED:
                result = self.control.force_start(job_id)
            case JobStatus.PAUSED:
                result = self.control.resume(job_id)
            case JobStatus.COMPLETED:
                return f"job {job_id} has completed already"
            case _:
                return ""
        return "" if result.success else result.message

    def _slot_is_free(self) -> bool:
        store = self.admission.store
        out = self.slots.out_of_service()
        alive = [slot for slot in self.slots.alive() if slot.name not in out]
        return store.occupying_count() + store.waiting_count() < len(alive)

    @contextmanager
    def _this_home(self) -> Iterator[bool]:
        """Whether no other courier of this home fetches jobs now."""
        with (self.notes.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            text = f"fetching jobs: {trouble}" if trouble else "fetching jobs: it works again"
            level = logging.WARNING if trouble else logging.INFO
            logger.log(level, text, extra={"action": "pull"})
        self._trouble = trouble


def body_of(job: Mapping[str, Any], token: str) -> dict[str, Any]:
    """The start request that a job of the backend is."""
    config = job.get("config")
    if isinstance(config, dict) and "model" not in config and job.get("model_name"):
        config = {**config, "model": {"name": job["model_name"]}}
    names = (
        *("dataset_path", "dataset_content", "datasets", "eval_dataset_path"),
        *("name", "user_id", "priority"),
    )
    given = {name: job[name] for name in names if job.get(name) is not None}
    return {"execution_id": job["id"], "config": config, "job_token": token, **given}


def open_puller(
    current: Settings, redis: Redis, admission: Admission, control: JobControl
) -> Puller | None:
    """The puller that the settings ask for; None without ``PULL_URL``."""
    client = pull_client(current)
    if client is None:
        return None
    return Puller(redis, client, PullNotes(pull_folder(current)), admission, control)
