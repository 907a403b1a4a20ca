"""Diagnosis of a yard, `trainyard doctor`: what is wrong, and what to do about it.

Every check is a function that gives findings; one that cannot be made says so as a finding.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pynvml
import requests
from packaging.requirements import Requirement
from redis import Redis
from redis.exceptions import RedisError

from trainyard import __version__
from trainyard.contract.backend_routes import WITHOUT
from trainyard.contract.names import REJECTED
from trainyard.contract.units import GB
from trainyard.direct_http import call
from trainyard.local.backend_findings import pull_findings
from trainyard.local.finding import Finding, clock_finding
from trainyard.local.old_names import unread_names
from trainyard.local.redis_findings import redis_findings, slot_findings, troubles_of
from trainyard.settings import Settings, SettingsError
from trainyard.store.connection import connect
from trainyard.store.counters import read_totals
from trainyard.store.delivery_report import delivery_report

LAG_S = 60.0
REJECTED_FRESH_S = 24 * 3600.0
DISK_LOW_GB, DISK_FULL_GB = 20.0, 2.0
DRIVER_OLDEST = 525
"""The oldest driver branch that CUDA 12 runs on."""
HTTP_TIMEOUT_S = 5.0
_START = "Start the services with `trainyard up`, or set REDIS_URL to a Redis that runs."


def examine(settings: Settings) -> list[Finding]:
    """Every check; takes a few seconds at most if nothing answers."""
    findings = [
        *_names(),
        *_versions(),
        *_disk(settings),
        *_gpus(),
        *_backend(settings),
        *pull_findings(settings),
        *_bridge(settings),
    ]
    try:
        redis = connect(settings.redis_location, retries=0)
    except SettingsError as error:
        return [_no_redis(error.sentence), *findings]
    with redis:
        try:
            return [
                *troubles_of(settings.redis_location),
                *redis_findings(redis),
                *slot_findings(redis),
                *findings,
                *_requests(redis),
                *_delivery(redis),
            ]
        except RedisError:
            return [*troubles_of(settings.redis_location), *findings]


def _names() -> Iterator[Finding]:
    for sentence in unread_names(os.environ):
        yield Finding("settings", "warning", sentence, "Set that, and take the old name away.")


def _no_redis(sentence: str) -> Finding:
    return Finding("redis", "failure", sentence, _START)


def _requests(redis: Redis) -> Iterator[Finding]:
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


def _delivery(redis: Redis) -> Iterator[Finding]:
    report = delivery_report(redis)
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
    required = [route for route in report.missing_routes if route not in WITHOUT]
    for route in required:
        mend = "Add it (examples/nextjs has it); its messages are kept and sent then."
        yield Finding("delivery", "failure", f"The backend lacks {route}.", mend)
    for route in report.missing_routes.keys() & WITHOUT:
        sentence = f"The backend lacks {route}, as it may: {WITHOUT[route]}."
        yield Finding("delivery", "ok", sentence)
    unheard = [job for job in report.waiting if job.last_error and not job.heard]
    if unheard:
        job_id, others = unheard[0].job_id, len(unheard) - 1
        yield Finding(
            "delivery",
            "warning",
            f"The backend has not accepted anything of job {job_id}: {unheard[0].last_error}"
            + (f" ({others} more jobs are like it)" if others else ""),
            "401 means another job token, 404 a job that it does not know. It is tried every ten "
            f"minutes; `trainyard redeliver {job_id}` tries at once.",
        )
    heard = [job for job in report.waiting if job not in unheard]
    lag_s = max((job.age_s for job in heard), default=0.0)
    failing = [job for job in heard if job.last_error]
    if failing or (heard and lag_s > LAG_S):
        job = (failing or heard)[0]
        sentence = f"{len(heard)} jobs wait for the backend, the oldest for {lag_s:.0f} s."
        why = f" The last try failed: {job.last_error}" if job.last_error else ""
        mend = "See that a worker or the bridge runs, and that the backend answers."
        yield Finding("delivery", "warning", sentence + why, mend)
    elif heard:
        sentence = f"Reports of {len(heard)} jobs are under way, the oldest for {lag_s:.0f} s."
        yield Finding("delivery", "ok", sentence)
    elif not (report.set_aside or required or unheard):
        yield Finding("delivery", "ok", "The backend has got everything.")


def _backend(settings: Settings) -> Iterator[Finding]:
    url = settings.backend_url
    try:
        answer = call("GET", url, timeout_s=HTTP_TIMEOUT_S)
    except requests.RequestException as error:
        yield Finding(
            "backend",
            "failure",
            f"No backend answers at {url} ({type(error).__name__}); reports wait for it.",
            "Start it, or set BACKEND_URL to where it is.",
        )
        return
    if answer.status_code >= requests.codes.server_error:
        mend = "Look into the backend's own log."
        yield Finding("backend", "warning", f"{url} answers {answer.status_code}.", mend)
    else:
        yield Finding("backend", "ok", f"The backend answers at {url}.")
    try:
        yield clock_finding(
            "the backend", parsedate_to_datetime(answer.headers["Date"]).timestamp()
        )
    except (KeyError, ValueError):
        yield Finding("clocks", "ok", "The backend does not tell its time.")


def _bridge(settings: Settings) -> Iterator[Finding]:
    url = f"{settings.bridge_url}/health"
    try:
        health = call("GET", url, timeout_s=HTTP_TIMEOUT_S).json()
        sentence = f"The bridge {health['version']} answers at {settings.bridge_url}."
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        mend = "Start it with `trainyard up`, or set BRIDGE_HOST and BRIDGE_PORT."
        sentence = f"No bridge answers at {settings.bridge_url} ({type(error).__name__})."
        yield Finding("bridge", "failure", sentence, mend)
        return
    yield Finding("bridge", "ok", sentence)


def _gpus() -> Iterator[Finding]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if not _has_nvidia_hardware():
            yield Finding("gpu", "ok", "This machine has no NVIDIA GPU: jobs train on its CPU.")
            return
        mend = "Install the driver, or load it (nvidia-smi should list the GPU)."
        yield Finding("gpu", "failure", f"There is a GPU and no working driver: {error}.", mend)
        return
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        count = pynvml.nvmlDeviceGetCount()
        if int(driver.partition(".")[0]) < DRIVER_OLDEST:
            mend = f"Update it to {DRIVER_OLDEST} or later."
            yield Finding("driver", "warning", f"The driver {driver} is old for CUDA 12.", mend)
        for number in range(count):
            yield _gpu(number, driver)
    finally:
        pynvml.nvmlShutdown()


def _gpu(number: int, driver: str) -> Finding:
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    free_gb, total_gb = int(memory.free) / GB, int(memory.total) / GB
    sentence = f"{name}, driver {driver}: {free_gb:.1f} of {total_gb:.1f} GB free."
    return Finding("gpu", "ok", sentence)


def _has_nvidia_hardware() -> bool:
    vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
    classes = (path.with_name("class") for path in vendors if path.read_text().strip() == "0x10de")
    return any(path.read_text().startswith("0x03") for path in classes)  # a display controller


def _disk(settings: Settings) -> Iterator[Finding]:
    home = settings.trainyard_home
    place = next(path for path in (home, *home.parents) if path.exists())
    free_gb = shutil.disk_usage(place).free / GB
    sentence = f"{free_gb:.1f} GB are free for {home}."
    mend = "Make room: `trainyard prune`, save_total_limit in requests, or another TRAINYARD_HOME."
    if free_gb < DISK_FULL_GB:
        yield Finding("disk", "failure", sentence, mend)
    elif free_gb < DISK_LOW_GB:
        yield Finding("disk", "warning", sentence, mend)
    else:
        yield Finding("disk", "ok", sentence)
    memory = psutil.virtual_memory()
    yield Finding(
        "memory", "ok", f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB are free."
    )


def _versions() -> Iterator[Finding]:
    wrong = []
    for text in metadata.requires("trainyard") or ():
        requirement = Requirement(text)
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            continue  # the bridge needs no torch, and nothing at work needs the tests' packages
        if found.partition("+")[0] not in requirement.specifier:
            wrong.append(f"{requirement.name} is {found}, not {requirement.specifier}")
    version = f"Trainyard {__version__}, Python {platform.python_version()}"
    if wrong:
        mend = "Run `make setup`."
        yield Finding("versions", "warning", f"{version}; {'; '.join(wrong)}.", mend)
    else:
        yield Finding("versions", "ok", f"{version} and every package in its range.")
