"""Usage over HTTP: of a job, of a month, and for Prometheus."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.bridge import Running


@pytest.fixture
def used(make_bridge: Any) -> Running:
    """job-1 has used two GPUs for an hour, and 1.5 kWh; job-2 runs, on no GPU."""
    bridge: Running = make_bridge(PRICE_PER_GPU_HOUR="2", PRICE_PER_KWH="0.4", CURRENCY="EUR")
    for job_id, gpus in (("job-1", 2), ("job-2", 0)):
        bridge.start(job_id)
        assert bridge.store.claim(job_id, 1, slot=f"box-{gpus}", worker="w", gpus=gpus)
        key = f"trainyard:job:{job_id}"
        bridge.store.redis.hincrby(key, "running_since", -3_600_000)
    bridge.store.renew("job-1", 1, 1_500_000 * 3600)
    assert bridge.store.complete("job-1", 1, {})
    return bridge


def whole(bridge: Running, **query: str) -> list[dict[str, Any]]:
    """Answers of all months: a test may begin in the one and end in the other."""
    keys = bridge.store.redis.keys("trainyard:usage:*:all")
    answers = []
    for month in {key.split(":")[2] for key in keys}:
        answer = bridge.client.get("/usage", params={"month": month, **query})
        assert answer.status_code == 200, answer.text
        answers.append(answer.json())
    return answers


def test_a_jobs_own(used: Running) -> None:
    told = used.client.get("/api/training/status/job-1").json()
    hours = told["usage"]["slot_hours"]
    assert hours == pytest.approx(1, abs=0.01)
    assert told["usage"] == {
        "slot_hours": hours,
        "gpu_hours": pytest.approx(2 * hours, abs=1e-5),
        "metered_hours": hours,
        "energy_kwh": 1.5,
        "cost": pytest.approx(2 * 2 * hours + 0.6, abs=1e-3),
        "currency": "EUR",
    }
    assert told["elapsed_seconds"] == pytest.approx(3600 * hours, abs=0.01)
    jobs = used.client.get("/api/training/jobs").json()["jobs"]
    by_id = {job["job_id"]: job["usage"] for job in jobs}
    assert by_id["job-1"] == told["usage"]
    assert (by_id["job-2"]["energy_kwh"], by_id["job-2"]["cost"]) == (None, None)
    assert by_id["job-2"]["slot_hours"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("by", ["user", "model", "slot"])
def test_a_month(used: Running, by: str) -> None:
    answers = whole(used, by=by)
    assert sum(one["attempts"] for one in answers) == 1
    assert sum(one["total"]["energy_kwh"] or 0 for one in answers) == pytest.approx(1.5)
    rows = [row for one in answers for row in one["rows"]]
    assert len({row["name"] for row in rows}) == 1
    assert sum(row["usage"]["gpu_hours"] for row in rows) == pytest.approx(2, abs=0.01)
    running = answers[0]["running"]
    assert running["slot_hours"] == pytest.approx(1, abs=0.01)
    assert running["gpu_hours"] == 0


def test_a_month_without_anything_and_this_one(used: Running) -> None:
    empty = used.client.get("/usage", params={"month": "1999-01"}).json()
    assert (empty["attempts"], empty["rows"], empty["by"]) == (0, [], None)
    assert empty["total"]["energy_kwh"] is empty["total"]["cost"] is None
    assert used.client.get("/usage").json()["month"] > "2025-01"


@pytest.mark.parametrize("query", [{"month": "2026-13"}, {"month": "now"}, {"by": "job"}])
def test_what_is_no_month_is_refused(used: Running, query: dict[str, str]) -> None:
    assert used.client.get("/usage", params=query).status_code == 422


def test_the_sums_are_for_prometheus_too(used: Running) -> None:
    families = list(text_string_to_metric_families(used.client.get("/metrics").text))
    found = {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}
    assert found["trainyard_used_slot_seconds_total",] == pytest.approx(3600, abs=30)
    assert found["trainyard_used_gpu_seconds_total",] == pytest.approx(7200, abs=60)
    assert found["trainyard_metered_slot_seconds_total",] == pytest.approx(3600, abs=30)
    assert found["trainyard_used_energy_joules_total",] == 1_500_000 * 3.6
    assert found["trainyard_price", "gpu_hour"] == 2
    assert found["trainyard_price", "kwh"] == 0.4


def test_without_prices_there_is_no_cost(bridge: Running) -> None:
    bridge.start()
    assert bridge.store.claim("job-1", 1, slot="s", worker="w", gpus=1)
    told = bridge.client.get("/api/training/status/job-1").json()["usage"]
    assert told["cost"] is told["currency"] is None
    assert "trainyard_price{" not in bridge.client.get("/metrics").text
