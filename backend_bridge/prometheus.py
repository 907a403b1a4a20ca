"""Figures for Prometheus, read from Redis at each scrape: every bridge tells the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from backend_bridge.bridge import Bridge
from backend_bridge.contract import JobStatus
from backend_bridge.delivery_report import delivery_report
from backend_bridge.totals import Durations, read_totals

GB = 1e9


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
    yield _gauge(
        "jobs", "Jobs that are kept, by state.", "state", {s: states[s] for s in JobStatus}
    )
    yield _gauge("queue_length", "Jobs that wait.", value=bridge.store.waiting_count())
    totals = read_totals(bridge.store.redis)
    yield _histogram("job_wait_seconds", "From queued to started.", totals.wait)
    yield _histogram("attempt_run_seconds", "How long attempts ran.", totals.run)
    yield _counter("job_restarts", "Jobs queued again after a crash.", value=totals.restarts)
    yield _counter("jobs_ended", "Jobs that ended, by state.", "state", totals.ended)
    yield from _delivery(bridge)
    yield from _slots(bridge)


def _delivery(bridge: Bridge) -> Iterator[Metric]:
    report = delivery_report(bridge.store.redis)
    yield _gauge(
        "forwarder_lag_seconds",
        "Age of the oldest message that the backend has not got.",
        value=report.oldest_age_s,
    )
    yield _gauge("undelivered_messages", "Not delivered yet.", "kind", report.undelivered)
    yield _counter(
        "set_aside_messages",
        "Messages that the backend will never take.",
        "kind",
        {kind: report.set_aside_counts.get(kind, 0) for kind in report.undelivered},
    )
    yield _gauge(
        "backend_missing_route",
        "Routes that the backend answers with 405.",
        "route",
        dict.fromkeys(report.missing_routes, 1),
    )


def _slots(bridge: Bridge) -> Iterator[Metric]:
    alive = bridge.slots.alive()
    yield _gauge("slots", "Slots that are alive.", value=len(alive))
    out = bridge.slots.out_of_service()
    yield _gauge("slots_out_of_service", "Slots that take no jobs.", value=len(out))
    memory = GaugeMetricFamily(
        "trainyard_gpu_memory_total_bytes", "Memory of a slot's GPU.", labels=["slot", "gpu"]
    )
    for slot in alive:
        for gpu in slot.info.get("gpus", []):
            memory.add_metric([slot.name, gpu["uuid"]], gpu["memory_total_gb"] * GB)
    yield memory
    running = [job for job in bridge.store.jobs(bridge.store.occupying()) if job.slot]
    for field, name, text, factor in _GPU_FIGURES:
        known = {job.slot: job.point[field] * factor for job in running if field in job.point}
        yield _gauge(name, text, "slot", known)


_GPU_FIGURES = (
    ("gpu_memory_allocated_gb", "gpu_memory_allocated_bytes", "Taken by tensors of the job.", GB),
    ("gpu_memory_reserved_gb", "gpu_memory_reserved_bytes", "Held by the job's allocator.", GB),
    ("gpu_utilization_percent", "gpu_utilization_ratio", "Of the job's GPU, 0 to 1.", 0.01),
)


def _gauge(
    name: str,
    text: str,
    label: str = "",
    values: Mapping[Any, float] | None = None,
    value: float = 0,
) -> Metric:
    family = GaugeMetricFamily(f"trainyard_{name}", text, labels=[label] if label else None)
    return _filled(family, label, values, value)


def _counter(
    name: str,
    text: str,
    label: str = "",
    values: Mapping[Any, float] | None = None,
    value: float = 0,
) -> Metric:
    family = CounterMetricFamily(f"trainyard_{name}", text, labels=[label] if label else None)
    return _filled(family, label, values, value)


def _filled(family: Any, label: str, values: Mapping[Any, float] | None, value: float) -> Metric:
    for key, figure in (values or {}).items() if label else [("", value)]:
        family.add_metric([str(key)] if label else [], figure)
    made: Metric = family
    return made


def _histogram(name: str, text: str, durations: Durations) -> Metric:
    family = HistogramMetricFamily(f"trainyard_{name}", text)
    buckets = [(str(float(bound)), float(count)) for bound, count in durations.buckets.items()]
    family.add_metric([], [*buckets, ("+Inf", float(durations.count))], durations.sum_s)
    return family
