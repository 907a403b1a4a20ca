"""Findings about what comes in through Redis and what goes out to the backend."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from trainyard.contract.backend_routes import WITHOUT
from trainyard.contract.names import REJECTED
from trainyard.local.diagnosis.finding import Absence, Finding, Level
from trainyard.scheduling.couriers import CourierRegister
from trainyard.store.counters import read_totals
from trainyard.store.delivery_report import DeliveryReport, WaitingJob, delivery_report

REJECTED_FRESH_S = 24 * 3600.0
_REFUSALS = (
    (
        r"HTTP (401|403)\b",
        "Its token is not the job_token of the job's row at the backend: compare them; "
        "`trainyard redeliver {job}` tries at once.",
    ),
    (
        r"HTTP 404\b",
        "The backend knows no such job: make its row there, under this id; "
        "`trainyard redeliver {job}` tries at once.",
    ),
    (r"HTTP 5\d\d\b", "The backend itself fails: its own log says why; its database, mostly."),
    (r"HTTP 429\b", "The backend asks for fewer requests; it gets them, later."),
    (r"HTTP 3\d\d\b", "BACKEND_URL leads to a redirect: set it to where that leads."),
    (r"no JSON", "Something else than the backend answers there: see BACKEND_URL, and proxies."),
    (r"^the job's token", "Its token is gone from Redis: the job cannot be reported any more."),
)
"""What is to be done about the backend's last answer."""
_OTHER_MEND = "See that the backend answers at BACKEND_URL from the workers' hosts too."


def request_findings(redis: Redis) -> Iterator[Finding]:
    """What came through Redis and was not understood; the newest counts for a day."""
    client: Any = redis  # redis-py types every answer as bytes or str, sync or async
    count, newest = read_totals(redis).rejected, client.xrevrange(REJECTED, count=1)
    if not newest:
        yield Finding("requests", "ok", "Every request through Redis was understood.")
        return
    entry_id, fields = newest[0]
    at_s = int(entry_id.partition("-")[0]) / 1000
    when = datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    sentence = (
        f"{count} requests through Redis were not understood, the newest, {fields['request_id']}, "
        f"at {when} UTC: {fields['reason']}."
    )
    if time.time() - at_s > REJECTED_FRESH_S:
        yield Finding("requests", "ok", sentence)
        return
    mend = f"Mend its sender (docs/how-to/node.md); `XRANGE {REJECTED} - +` shows all."
    yield Finding("requests", "warning", sentence, mend)


def delivery_findings(redis: Redis, *, backend_answers: bool, couriers_due: bool) -> list[Finding]:
    """What waits for the backend, and why; nothing twice that is said of the backend itself, or of
    workers and bridge, which bring the couriers (``couriers_due``: one of them is there)."""
    report, couriers = delivery_report(redis), CourierRegister(redis).count()
    refused = [job for job in report.waiting if job.last_error and not job.heard]
    heard = [job for job in report.waiting if job not in refused]
    found = [
        *_set_aside(report),
        *_missing_routes(report),
        *_never_accepted(report, refused, backend_answers),
        *_failing(report, [job for job in heard if job.last_error], backend_answers),
        *(_couriers(couriers) if couriers_due else ()),
        *_untried(report, [job for job in heard if not job.last_error], couriers),
    ]
    if all(finding.level == "ok" for finding in found) and not report.waiting:
        found.append(Finding("delivery", "ok", "The backend has got everything."))
    return found


def _set_aside(report: DeliveryReport) -> Iterator[Finding]:
    if report.set_aside:
        newest = report.set_aside[0]
        yield Finding(
            "delivery",
            "warning",
            f"{len(report.set_aside)} messages were set aside, the newest of job {newest.job_id}: "
            f"{newest.reason}",
            "Mend what the backend refuses, then send them again: "
            f"`trainyard redeliver {newest.job_id}`, or `--all`.",
        )


def _missing_routes(report: DeliveryReport) -> Iterator[Finding]:
    for route in report.missing_routes:
        if route in WITHOUT:
            sentence = f"The backend lacks {route}, as it may: {WITHOUT[route]}."
            yield Finding("delivery", "ok", sentence)
        else:
            mend = "Add it (examples/nextjs has it); its messages are kept and sent then."
            yield Finding("delivery", "failure", f"The backend lacks {route}.", mend)


def _never_accepted(
    report: DeliveryReport, jobs: Sequence[WaitingJob], backend_answers: bool
) -> Iterator[Finding]:
    jobs = [job for job in jobs if not _is_explained(job, report, backend_answers)]
    if not jobs:
        return
    job, others = jobs[0], len(jobs) - 1
    beside = f" ({others} more like it)" if others else ""
    mend = f"{_mend(job)} It is tried every ten minutes."
    if job in report.stuck:
        sentence = f"The backend accepts nothing, of job {job.job_id} for {job.age_s:.0f} s: "
        yield Finding("delivery", "failure", f"{sentence}{job.last_error}{beside}", mend)
    else:
        sentence = f"The backend has not accepted anything of job {job.job_id}: "
        yield Finding("delivery", "warning", f"{sentence}{job.last_error}{beside}", mend)


def _failing(
    report: DeliveryReport, jobs: Sequence[WaitingJob], backend_answers: bool
) -> Iterator[Finding]:
    jobs = [job for job in jobs if not _is_explained(job, report, backend_answers)]
    if not jobs:
        return
    job = jobs[0]
    level: Level = "failure" if job in report.stuck else "warning"
    sentence = (
        f"Reports of {len(jobs)} jobs do not get through, the oldest, of {job.job_id}, for "
        f"{job.age_s:.0f} s. The last try failed: {job.last_error}"
    )
    yield Finding("delivery", level, sentence, _mend(job))


def _couriers(count: int) -> Iterator[Finding]:
    if not count:
        sentence = "No courier works: nothing is reported, and nobody sees a lost worker."
        mend = "Every worker and the bridge bring one: see in their logs why it ends."
        yield Absence("couriers", "failure", sentence, mend)


def _untried(
    report: DeliveryReport, jobs: Sequence[WaitingJob], couriers: int
) -> Iterator[Finding]:
    """Reports that nobody has tried yet; without a courier nobody can."""
    if not jobs:
        return
    sentence, age_s = f"Reports of {len(jobs)} jobs", jobs[0].age_s
    if couriers and jobs[0] in report.stuck:
        mend = f"{couriers} couriers work, and none tries: see the logs of workers and bridge."
        yield Finding("delivery", "failure", f"{sentence} wait, for {age_s:.0f} s.", mend)
    else:
        sentence += f" are under way, the oldest for {age_s:.0f} s."
        yield Finding("delivery", "ok", sentence)


def _is_explained(job: WaitingJob, report: DeliveryReport, backend_answers: bool) -> bool:
    """Whether another finding says it: the backend is away, or lacks the route."""
    if job.last_error.startswith("the backend lacks"):
        return any(route not in WITHOUT for route in report.missing_routes)
    return not backend_answers and "HTTP" not in job.last_error


def _mend(job: WaitingJob) -> str:
    found = (mend for pattern, mend in _REFUSALS if re.search(pattern, job.last_error))
    return next(found, _OTHER_MEND).format(job=job.job_id)
