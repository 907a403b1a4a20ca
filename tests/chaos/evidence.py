"""Evidence of a soak; each check returns sentences about what does not hold after it."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from tests.chaos.soak import WARM
from tests.support.stack import Stack
from trainyard.contract.errors import ErrorKind
from trainyard.contract.statuses import OCCUPYING, TERMINAL, JobStatus
from trainyard.store.job import Job
from worker.slot_process.client import wait_gone

_LANES = {"status": "/status", "metric": "/metrics", "log": "/logs"}
"""Ends of the paths by the kind of event: what the backend hears, each kind in its order."""
_ENDS = frozenset(_LANES.values())
_ENDED = {status.value for status in TERMINAL}
_OF_THE_STORE = re.compile(
    r"^\[[^]]+\] (Attempt \d+ was lost: |Put back into the queue: |Made way: |Paused, without )"
)


class Evidence:
    """Looks at a settled stack.

    ``steps`` are the jobs and how many steps each was to make. ``short_of_disk``: those that may
    have met a full disk, which may fail a job, and cost lines of its train.log.
    """

    def __init__(
        self,
        stack: Stack,
        steps: dict[str, int],
        witness: Path,
        short_of_disk: Collection[str] = (),
    ) -> None:
        self.stack = stack
        self.short_of_disk = short_of_disk
        self.steps = steps
        self.witness = witness
        self.jobs = {job.job_id: job for job in stack.store.jobs()}
        self.events = {job_id: self._events(job_id) for job_id in self.jobs}
        self.requests = self._requests()

    def problems(self) -> list[str]:
        """Everything that is wrong with the jobs; empty where all is well."""
        checks: list[Callable[[Job], Iterator[str]]] = [
            self._has_come_to_rest,
            self._status_order,
            self._backend_agrees,
            self._log_is_delivered,
            self._attempts_did_not_overlap,
            self._did_all_steps,
        ]
        found = [
            f"{job.job_id}: {problem}"
            for check in checks
            for job in self.jobs.values()
            for problem in check(job)
        ]
        if missing := self.steps.keys() - self.jobs.keys():
            found.append(f"unknown to the store: {sorted(missing)}")
        return [*found, *self._weights_agree(), *self._nothing_is_held(), *self._only_parked_live()]

    def tally(self) -> str:
        """What the round was made of."""
        states = Counter(job.status.value for job in self.jobs.values())
        logs = [self.stack.log(job_id) for job_id in self.jobs]
        warm = sum(log.count(WARM) for log in logs)
        cold = sum(log.count("Resuming from the checkpoint") for log in logs)
        attempts = sum(job.attempt for job in self.jobs.values())
        restarts = sum(job.restarts for job in self.jobs.values())
        return (
            f"{dict(states)}; {attempts} attempts, {warm} went on warm, {cold} from a checkpoint, "
            f"{restarts} restarts, {self.slip_ins()} slip-ins"
        )

    def slip_ins(self) -> int:
        """How often a job made way for a short one."""
        return sum(job.ways_made for job in self.jobs.values())

    def _events(self, job_id: str) -> list[dict[str, str]]:
        stream = self.stack.redis.xrange(f"trainyard:events:{job_id}")
        return [fields for _, fields in stream]

    def _requests(self) -> dict[str, list[dict[str, Any]]]:
        """What the backend was told of each job, in the order of arrival."""
        found: dict[str, list[dict[str, Any]]] = {job_id: [] for job_id in self.jobs}
        query = {"limit": 100_000}
        for request in self.stack.backend.call("GET", "/api/dev/requests", params=query)[
            "requests"
        ]:
            # A job's own path names it; many points together go to one that names none.
            job_id = request["job_id"] or (request["body"] or {}).get("job_id")
            if request["method"] != "GET" and job_id in found:
                found[job_id].append(request)
        return found

    def _statuses(self, job_id: str) -> list[tuple[int, str]]:
        return [
            (int(event["attempt"]), json.loads(event["data"])["status"])
            for event in self.events[job_id]
            if event["kind"] == "status"
        ]

    # ------------------------------------------------------------ states

    def _has_come_to_rest(self, job: Job) -> Iterator[str]:
        if job.status not in (*TERMINAL, JobStatus.PAUSED):
            yield f"is {job.status}"
        if job.status is JobStatus.FAILED:
            full = job.error is not None and job.error.kind is ErrorKind.DISK_FULL
            if not (full and job.job_id in self.short_of_disk):
                yield f"has failed: {job.error}"

    def _status_order(self, job: Job) -> Iterator[str]:
        statuses = self._statuses(job.job_id)
        attempts = [attempt for attempt, _ in statuses]
        if attempts != sorted(attempts):
            yield f"an older attempt wrote after a newer one: {statuses}"
        for attempt, group in itertools.groupby(statuses, lambda pair: pair[0]):
            names = [status for _, status in group]
            if names.count("running") > 1 or "running" in names[1:]:
                yield f"attempt {attempt} said running again: {names}"
            if any(name in _ENDED for name in names[:-1]):
                yield f"attempt {attempt} spoke after its end: {names}"
        if statuses and statuses[-1][1] != job.status:
            yield f"is {job.status}, but its last status is {statuses[-1]}"

    def _backend_agrees(self, job: Job) -> Iterator[str]:
        """The backend took every entry of the stream, once by its key, and each kind in order."""
        taken, statuses = self._taken(job.job_id)
        for kind, path in _LANES.items():
            wanted = [
                f"{job.job_id}:{event['attempt']}:{event['sequence']}"
                for event in self.events[job.job_id]
                if event["kind"] == kind
            ]
            if (got := [key for key, end in taken.items() if path == end]) != wanted:
                lost, foreign = set(wanted) - set(got), set(got) - set(wanted)
                yield f"{kind}: lost {sorted(lost)}, foreign {sorted(foreign)}, or order"
        if statuses != [status for _, status in self._statuses(job.job_id)]:
            yield f"the backend took {statuses}, the stream has {self._statuses(job.job_id)}"
        if (at_backend := self.stack.backend.status(job.job_id)["status"]) != job.status:
            yield f"is {job.status} in the store and {at_backend} at the backend"

    def _taken(self, job_id: str) -> tuple[dict[str, str], list[str]]:
        """Keys in the order of their first acceptance, with the ends of their paths, and the
        statuses among them."""
        keys: dict[str, str] = {}
        statuses = []
        for request in self.requests[job_id]:
            key = request["headers"].get("idempotency-key")
            end = f"/{request['path'].rpartition('/')[2]}"
            if request["status"] != 200 or key is None or key in keys or end not in _ENDS:
                continue  # not taken, the test's own, or sent again because its answer was lost
            keys |= dict.fromkeys(self._keys_in(job_id, key), end)
            if end == "/status":
                statuses.append(request["body"]["status"])
        return keys, statuses

    def _keys_in(self, job_id: str, key: str) -> list[str]:
        """The keys of all points that went out under one: ``job:attempt:first-last``."""
        first, _, last = key.rpartition(":")[2].partition("-")
        if not last:
            return [key]
        return [
            f"{job_id}:{event['attempt']}:{event['sequence']}"
            for event in self.events[job_id]
            if event["kind"] == "metric" and int(first) <= int(event["sequence"]) <= int(last)
        ]

    # ------------------------------------------------------------ logs

    def _log_is_delivered(self, job: Job) -> Iterator[str]:
        """Stream and backend have the same lines, and they are those of train.log.

        train.log lacks what the store itself wrote until an attempt of the job starts again.
        """
        stored: list[str] = []
        for event in self.events[job.job_id]:
            stored += json.loads(event["data"]) if event["kind"] == "log" else []
        if (at_backend := self.stack.backend.logs(job.job_id)) != stored:
            yield f"{len(stored)} lines in the stream, {len(at_backend)} others at the backend"
        written = self.stack.log(job.job_id).splitlines()
        foreign = [
            line for line in Counter(stored) - Counter(written) if not _OF_THE_STORE.match(line)
        ]
        if foreign and job.job_id not in self.short_of_disk:
            yield f"lines that train.log lacks: {foreign[:3]}"
        lost = Counter(written) - Counter(stored)
        # A supervisor that was frozen until its job was cancelled finds nobody who takes the rest.
        too_late = job.status is JobStatus.CANCELLED and lost == Counter(written[-lost.total() :])
        if lost and not too_late:
            yield f"{lost.total()} lines of train.log were not delivered: {list(lost)[:3]}"

    # ------------------------------------------------------------ attempts

    def _signs(self, job_id: str) -> list[tuple[int, str, str]]:
        path = self.witness / f"{job_id}.signs"
        lines = path.read_text().splitlines() if path.exists() else []
        signs = [line.split() for line in lines]
        return sorted((int(at), process, what) for at, process, what in signs)

    def _attempts_did_not_overlap(self, job: Job) -> Iterator[str]:
        """No process of a job worked after another one of it had begun to (see the witness)."""
        signs = self._signs(job.job_id)
        order = [process for process, _ in itertools.groupby(signs, lambda sign: sign[1])]
        again = [process for process, count in Counter(order).items() if count > 1]
        if again:
            yield f"processes {again} worked on after another had begun: {order}"
        was_paused = job.ways_made or "paused" in {s for _, s in self._statuses(job.job_id)}
        contended = {process for _, process, what in signs if what == "contended"}
        # One that is held, on a host that is cut off from Redis, lives on and writes nothing.
        out_of_sight = any("no sign of life" in event["data"] for event in self.events[job.job_id])
        if contended and not (was_paused or out_of_sight):
            yield f"processes {sorted(contended)} began while another one lived"
        started = sum(status == "running" for _, status in self._statuses(job.job_id))
        if len(set(order)) > started:
            yield f"{len(set(order))} processes worked in {started} attempts"

    def _did_all_steps(self, job: Job) -> Iterator[str]:
        if job.status is not JobStatus.COMPLETED:
            return
        wanted = self.steps[job.job_id]
        if job.progress.get("step") != wanted:
            yield f"completed at step {job.progress.get('step')} of {wanted}"
        made = {what for *_, what in self._signs(job.job_id)}
        missing = [step for step in range(1, wanted + 1) if f"step:{step}" not in made]
        if missing:
            yield f"completed without the steps {missing}"

    def _weights_agree(self) -> Iterator[str]:
        """Jobs of one length are the same training: whatever happened, the same weights."""
        weights: dict[int, dict[str, list[str]]] = {}
        for job in self.jobs.values():
            if job.status is JobStatus.COMPLETED:
                path = self.stack.home / "jobs" / job.job_id / "model" / "model.safetensors"
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
                of_length = weights.setdefault(self.steps[job.job_id], {})
                of_length.setdefault(digest, []).append(job.job_id)
        for steps, by_digest in weights.items():
            if len(by_digest) > 1:
                yield f"different weights after {steps} steps: {by_digest}"

    # ------------------------------------------------------------ what is left

    def _nothing_is_held(self) -> Iterator[str]:
        redis = self.stack.redis
        for key in ("trainyard:waiting", "trainyard:occupying", "trainyard:undelivered"):
            if left := redis.zrange(key, 0, -1):
                yield f"{key} still has {left}"
        if locks := redis.keys("trainyard:delivery-lock:*"):
            yield f"locks are left: {locks}"
        if messages := {key: redis.lrange(key, 0, -1) for key in redis.keys("trainyard.gpu*")}:
            yield f"messages are left in the broker: {messages}"
        if count := redis.hgetall("trainyard:set-aside-counts"):
            yield f"{count} entries were set aside: {redis.lrange('trainyard:set-aside', 0, 3)}"
        if left := [job.attempt_id for job in self.jobs.values() if job.status in OCCUPYING]:
            yield f"still occupying: {left}"

    def _only_parked_live(self) -> Iterator[str]:
        """What lives of any attempt is parked, and its job is paused and knows of it."""
        known = {
            job.parked
            for job in self.jobs.values()
            if job.status is JobStatus.PAUSED and job.parked
        }
        parked = [
            name
            for socket in self.stack.slot_sockets()
            for name in known
            if not wait_gone(socket, name, 1.0)
        ]
        keepers = self.stack.attempt_processes("keeper")
        if len(keepers) != len(parked):
            yield f"{len(keepers)} keepers live, but only {parked} are parked and known to a job"
