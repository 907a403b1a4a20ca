"""Metrics for Prometheus, read from Redis at each scrape: every bridge tells the same, but for
its own requests and disk."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from backend_bridge.api.context import Bridge
from backend_bridge.api.monitoring.request_times import BOUNDS_S, RequestTimes
from trainyard import __version__
from trainyard.contract.statuses import JobStatus
from trainyard.contract.units import GB
from trainyard.contract.usage.used import Usage
from trainyard.scheduling.slots import SlotState
from trainyard.store.counters import Durations, read_totals
from trainyard.store.delivery_report import delivery_report
from trainyard.store.job import Job


class Figure(NamedTuple):
    """What a figure is; its name stands in FIGURES, without ``trainyard_``."""

    kind: type[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily]
    help: str
    labels: tuple[str, ...] = ()


_GAUGE, _COUNTER, _HISTOGRAM = GaugeMetricFamily, CounterMetricFamily, HistogramMetricFamily
FIGURES = {
    "jobs": Figure(_GAUGE, "Jobs that are kept, by state.", ("state",)),
    "queue_length": Figure(_GAUGE, "Jobs that wait."),
    "job_wait_seconds": Figure(_HISTOGRAM, "From queued to started."),
    "attempt_run_seconds": Figure(_HISTOGRAM, "How long attempts ran."),
    "job_restarts": Figure(_COUNTER, "Jobs queued again after a crash."),
    "jobs_ended": Figure(_COUNTER, "Jobs that ended, by state.", ("state",)),
    "jobs_failed": Figure(_COUNTER, "Jobs that failed, by the kind of their error.", ("kind",)),
    "rejected_requests": Figure(_COUNTER, "Requests through Redis that were not understood."),
    "used_slot_seconds": Figure(_COUNTER, "Time in slots, of attempts that have ended."),
    "used_gpu_seconds": Figure(_COUNTER, "The same, times the GPUs of the slot."),
    "metered_slot_seconds": Figure(_COUNTER, "Those of which the energy is known."),
    "used_energy_joules": Figure(_COUNTER, "Energy of the GPUs in that time, by NVML."),
    "price": Figure(_GAUGE, "As set, by what it is of: gpu_hour, kwh.", ("of",)),
    "forwarder_lag_seconds": Figure(
        _GAUGE, "Age of the oldest message that the backend has not got."
    ),
    "undelivered_messages": Figure(_GAUGE, "Not delivered yet.", ("kind",)),
    "set_aside_messages": Figure(_COUNTER, "Messages that the backend will never take.", ("kind",)),
    "delivery_backlog_messages": Figure(
        _GAUGE, "Not arrived, by state: waiting, unheard, set_aside.", ("state",)
    ),
    "delivery_backlog_oldest_seconds": Figure(
        _GAUGE, "Age of the oldest of them, since it was set aside for those.", ("state",)
    ),
    "backend_missing_route": Figure(_GAUGE, "Routes that the backend lacks.", ("route",)),
    "slots": Figure(_GAUGE, "Slots that are alive."),
    "slots_out_of_service": Figure(_GAUGE, "Slots that take no jobs."),
    "slots_resting": Figure(_GAUGE, "Slots that take none because it is not their hour."),
    "slot_expected": Figure(
        _GAUGE, "Whether a slot should take jobs: it is not drained, and it is its hour.", ("slot",)
    ),
    "slot_up": Figure(_GAUGE, "Whether a slot takes jobs.", ("slot",)),
    "slot_busy": Figure(_GAUGE, "Whether a job is on a slot.", ("slot",)),
    "job_silence_seconds": Figure(_GAUGE, "Since the job on a slot was heard of.", ("slot",)),
    "job_step_age_seconds": Figure(
        _GAUGE, "Since the last step of the job on a slot, or its start.", ("slot",)
    ),
    "job_checkpoint_age_seconds": Figure(
        _GAUGE, "Since its newest checkpoint, or its start: what a crash would cost.", ("slot",)
    ),
    "gpu_memory_total_bytes": Figure(_GAUGE, "Memory of a slot's GPU.", ("slot", "gpu")),
    "gpu_memory_allocated_bytes": Figure(_GAUGE, "Taken by tensors of the job.", ("slot",)),
    "gpu_memory_reserved_bytes": Figure(_GAUGE, "Held by the job's allocator.", ("slot",)),
    "gpu_utilization_ratio": Figure(_GAUGE, "Of the job's GPU, 0 to 1.", ("slot",)),
    "couriers": Figure(_GAUGE, "Couriers that work: without any nothing is reported."),
    "bridge_request_seconds": Figure(
        _HISTOGRAM, "From a request to this bridge to its answer.", ("method", "route", "code")
    ),
    "redis_memory_bytes": Figure(_GAUGE, "Taken by Redis's data."),
    "redis_memory_max_bytes": Figure(_GAUGE, "Redis's maxmemory; 0 without a limit."),
    "disk_free_bytes": Figure(_GAUGE, "Free below TRAINYARD_HOME, where the bridge runs."),
    "build_info": Figure(_GAUGE, "1, for the version that the bridge has.", ("version",)),
}
"""Every figure that is told; docs/metrics.md is made from it."""


def exposition(bridge: Bridge) -> bytes:
    """The text that Prometheus reads. Raises redis.RedisError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(list(_figures(bridge))))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, figures: list[Metric]) -> None:
        self._figures = figures

    def collect(self) -> list[Metric]:
        return self._figures


def _figures(bridge: Bridge) -> Iterator[Metric]:
    states = Counter(bridge.store.statuses())
    yield _figure("jobs", {(s,): states[s] for s in JobStatus})
    yield _figure("queue_length", bridge.store.waiting_count())
    totals = read_totals(bridge.store.redis)
    yield _histogram("job_wait_seconds", totals.wait)
    yield _histogram("attempt_run_seconds", totals.run)
    yield _figure("job_restarts", totals.restarts)
    yield _figure("jobs_ended", {(state,): n for state, n in totals.ended.items()})
    yield _figure("jobs_failed", {(kind,): n for kind, n in totals.failed.items()})
    yield _figure("rejected_requests", totals.rejected)
    yield from _usage(bridge, totals.used)
    yield from _delivery(bridge)
    yield from _slots(bridge)
    yield from _host(bridge)
    yield _figure("couriers", bridge.couriers.count())
    yield _requests(bridge.request_times)


def _usage(bridge: Bridge, used: Usage) -> Iterator[Metric]:
    """No user and no model: those come from outside, without number; `GET /usage` tells them. No
    cost: a counter must not fall with a price."""
    yield _figure("used_slot_seconds", used.slot_s)
    yield _figure("used_gpu_seconds", used.gpu_s)
    yield _figure("metered_slot_seconds", used.metered_s)
    yield _figure("used_energy_joules", used.energy_j or 0.0)
    known = {("gpu_hour",): bridge.prices.per_gpu_hour, ("kwh",): bridge.prices.per_kwh}
    yield _figure("price", {of: price for of, price in known.items() if price is not None})


def _host(bridge: Bridge) -> Iterator[Metric]:
    memory: dict[str, Any] = bridge.store.redis.info("memory")
    yield _figure("redis_memory_bytes", memory["used_memory"])
    yield _figure("redis_memory_max_bytes", memory["maxmemory"])
    home = bridge.settings.trainyard_home
    yield _figure("disk_free_bytes", {(): shutil.disk_usage(home).free} if home.is_dir() else {})
    yield _figure("build_info", {(__version__,): 1})


def _delivery(bridge: Bridge) -> Iterator[Metric]:
    report = delivery_report(bridge.store.redis)
    yield _figure("forwarder_lag_seconds", report.oldest_age_s)
    yield _figure("undelivered_messages", {(k,): n for k, n in report.undelivered.items()})
    counts = {(kind,): report.set_aside_counts.get(kind, 0) for kind in report.undelivered}
    yield _figure("set_aside_messages", counts)
    backlog = report.backlog
    yield _figure("delivery_backlog_messages", {(s,): b.messages for s, b in backlog.items()})
    oldest = {(state,): left.oldest_s for state, left in backlog.items()}
    yield _figure("delivery_backlog_oldest_seconds", oldest)
    yield _figure("backend_missing_route", {(route,): 1 for route in report.missing_routes})


def _slots(bridge: Bridge) -> Iterator[Metric]:
    alive = bridge.slots.alive()
    yield _figure("slots", len(alive))
    yield _figure("slots_out_of_service", len(bridge.slots.idle()))
    resting = [slot for slot in bridge.slots.present() if slot.state is SlotState.RESTING]
    yield _figure("slots_resting", len(resting))
    gpus = [(slot.name, gpu) for slot in alive for gpu in slot.info.get("gpus", [])]
    memory = {(slot, gpu["uuid"]): gpu["memory_total_gb"] * GB for slot, gpu in gpus}
    yield _figure("gpu_memory_total_bytes", memory)
    running = [job for job in bridge.store.jobs(bridge.store.occupying()) if job.slot]
    taken, taking = {job.slot for job in running}, {slot.name for slot in alive}
    expected = bridge.slots.expected()
    known = bridge.slots.known()
    yield _figure("slot_expected", {(name,): int(name in expected) for name in known})
    yield _figure("slot_up", {(name,): int(name in taking) for name in known})
    yield _figure("slot_busy", {(name,): int(name in taken) for name in known})
    yield from _jobs_on_slots(running, bridge.store.redis.time()[0])


def _jobs_on_slots(running: Sequence[Job], now_s: int) -> Iterator[Metric]:
    def age(at_s: float | None, job: Job) -> float:
        return max(now_s - max(at_s or 0.0, job.attempt_started_at or 0.0), 0.0)

    silent = {(job.slot,): max(now_s - job.updated_at, 0) for job in running}
    yield _figure("job_silence_seconds", silent)
    steps = {(job.slot,): age(job.step_at, job) for job in running}
    yield _figure("job_step_age_seconds", steps)
    checkpoints = {(job.slot,): age(job.checkpoint_at, job) for job in running}
    yield _figure("job_checkpoint_age_seconds", checkpoints)
    for field, name, factor in _OF_A_JOB:
        known = {(job.slot,): job.point[field] * factor for job in running if field in job.point}
        yield _figure(name, known)


_OF_A_JOB = (
    ("gpu_memory_allocated_gb", "gpu_memory_allocated_bytes", GB),
    ("gpu_memory_reserved_gb", "gpu_memory_reserved_bytes", GB),
    ("gpu_utilization_percent", "gpu_utilization_ratio", 0.01),
)


def _requests(times: RequestTimes) -> Metric:
    name = "bridge_request_seconds"
    family = HistogramMetricFamily(
        f"trainyard_{name}", FIGURES[name].help, labels=FIGURES[name].labels
    )
    for kind, known in times.all().items():
        *buckets, count = known.buckets
        pairs = [(str(bound), float(n)) for bound, n in zip(BOUNDS_S, buckets, strict=True)]
        family.add_metric(list(map(str, kind)), [*pairs, ("+Inf", float(count))], known.sum_s)
    return family


def _figure(name: str, values: float | Mapping[Any, float]) -> Metric:
    """``values`` by their labels, or the one value of a figure without any."""
    kind, text, labels = FIGURES[name]
    family: Any = kind(f"trainyard_{name}", text, labels=labels)
    for key, value in values.items() if isinstance(values, Mapping) else [((), values)]:
        family.add_metric([str(label) for label in key], value)
    made: Metric = family
    return made


def _histogram(name: str, durations: Durations) -> Metric:
    family = HistogramMetricFamily(f"trainyard_{name}", FIGURES[name].help)
    buckets = [(str(float(bound)), float(count)) for bound, count in durations.buckets.items()]
    family.add_metric([], [*buckets, ("+Inf", float(durations.count))], durations.sum_s)
    return family
