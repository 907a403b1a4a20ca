"""Page docs/metrics.md: every figure that the bridge tells Prometheus."""

from __future__ import annotations

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

from backend_bridge.api.monitoring.figures import FIGURES, Figure
from backend_bridge.api.monitoring.request_times import BOUNDS_S
from trainyard.store.counters import BUCKETS_S

_HEAD = """# Metrics for Prometheus

What the bridge tells at `/metrics`, read from Redis at each scrape: every bridge tells the same,
but for its own requests, disk and version.
How to scrape it, and what is worth an alert: [health](how-to/health.md).

| name | type | labels | what |
|---|---|---|---|
"""


def as_markdown() -> str:
    """The page, with a row for every figure."""
    rows = "".join(_row(name, figure) for name, figure in FIGURES.items())
    requests = ", ".join(f"{bound:g}" for bound in BOUNDS_S)
    bounds = ", ".join(f"{bound:,}" for bound in BUCKETS_S)
    return f"{_HEAD}{rows}\nBuckets in seconds: {bounds}; of requests {requests}.\n"


def _row(name: str, figure: Figure) -> str:
    kind, shown = "gauge", f"trainyard_{name}"
    if figure.kind is CounterMetricFamily:
        kind, shown = "counter", f"{shown}_total"
    if figure.kind is HistogramMetricFamily:
        kind = "histogram"
    labels = ", ".join(f"`{label}`" for label in figure.labels)
    return f"| `{shown}` | {kind} | {labels} | {figure.help} |\n"
