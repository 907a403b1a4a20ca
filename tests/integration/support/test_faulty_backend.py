"""The faulty backend that other tests work with: its record is complete, its faults are real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from unittest.mock import Mock

import pytest
import requests

from tests.integration.backend_bridge.test_dev_backend import POINT, Job
from tests.support.dev_backend import FaultyBackend
from tests.support.faulty_backend.faults import Connections
from tests.support.waiting import wait_for


class FaultyJob(Job):
    backend: FaultyBackend


@pytest.fixture(scope="module")
def backend() -> Iterator[FaultyBackend]:
    with FaultyBackend() as running:
        yield running


@pytest.fixture
def job(backend: FaultyBackend) -> Iterator[FaultyJob]:
    yield FaultyJob(backend)
    backend.clear_faults()


class TestRecord:
    def test_everything_that_arrives_is_there_in_order(self, job: FaultyJob) -> None:
        job.send("PATCH", "status", {"status": "running"}, key="k1")
        job.send("PUT", "metrics", {"step": 0})
        job.send("POST", "logs", {"logs": ["a"]}, headers={"Authorization": "Bearer wrong"})
        job.send("PUT", "metrics", b"{")
        found = job.backend.requests(job.id)
        assert [(item["method"], item["status"], item["body"]) for item in found] == [
            ("PATCH", 200, {"status": "running"}),
            ("PUT", 400, {"step": 0}),
            ("POST", 401, {"logs": ["a"]}),
            ("PUT", 400, None),
        ]
        assert found[0]["headers"]["idempotency-key"] == "k1"
        times = [at for item in found for at in (item["received_at"], item["answered_at"])]
        assert times == sorted(times)
        later = job.backend.requests(job.id, after=found[1]["sequence"])
        assert later == found[2:]


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "done", "recorded"),
        [
            ({"reset": True}, False, None),
            ({"lose_answer": True}, True, None),
            ({"half_body": True}, True, 200),
        ],
    )
    def test_a_broken_answer(
        self, job: FaultyJob, fault: dict[str, Any], done: bool, recorded: int | None
    ) -> None:
        job.backend.add_fault(**fault, times=1, path_contains=job.id)
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            job.send("PUT", "metrics", POINT, key="1")
        assert len(job.backend.metrics(job.id)) == done
        assert job.send("PUT", "metrics", POINT, key="1").status_code == 200
        assert job.backend.metrics(job.id) == [POINT]
        first, second = job.backend.requests(job.id)
        assert (first["status"], first["fault"]) == (recorded, next(iter(fault)))
        assert (second["status"], second["fault"]) == (200, None)

    def test_an_error_page_does_nothing(self, job: FaultyJob) -> None:
        job.backend.add_fault(status=502, html=True, times=1, path_contains=job.id)
        answer = job.send("PUT", "metrics", POINT)
        assert answer.status_code == 502
        assert answer.headers["content-type"].startswith("text/html")
        assert job.backend.metrics(job.id) == []

    def test_retry_after(self, job: FaultyJob) -> None:
        job.backend.add_fault(status=429, retry_after_s=7, times=1, path_contains=job.id)
        answer = job.send("PUT", "metrics", POINT)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")

    def test_latency_holds_the_answer(self, job: FaultyJob) -> None:
        job.backend.add_fault(latency_s=20, times=1, path_contains=job.id)
        with pytest.raises(requests.Timeout):
            requests.put(
                f"{job.backend.url}/api/training/local/{job.id}/metrics", json=POINT, timeout=0.3
            )
        assert job.backend.requests(job.id)[0]["answered_at"] is None

    def test_retry_after_can_be_a_date(self, job: FaultyJob) -> None:
        fault = {"status": 429, "retry_after_s": 60, "retry_after_date": True}
        job.backend.add_fault(**fault, times=1, path_contains=job.id)
        header = job.send("PUT", "metrics", POINT).headers["retry-after"]
        wait_s = parsedate_to_datetime(header).timestamp() - time.time()
        assert 50 < wait_s <= 61

    def test_it_goes_down_and_comes_back(self, job: FaultyJob) -> None:
        job.backend.add_fault(down_s=1.0, times=1, path_contains=job.id)
        with pytest.raises(requests.ConnectionError):
            job.send("PUT", "metrics", POINT)
        with pytest.raises(requests.ConnectionError, match="refused"):
            job.send("PUT", "metrics", POINT)
        wait_for("it is back", job.backend._answers)
        assert job.backend.metrics(job.id) == []
        assert job.send("PUT", "metrics", POINT).status_code == 200
        assert [item["fault"] for item in job.backend.requests(job.id)] == ["down", None]

    def test_faults_are_taken_in_order_and_only_where_they_match(self, job: FaultyJob) -> None:
        job.backend.add_fault(status=500, times=2, path_contains=f"{job.id}/metrics")
        job.backend.add_fault(status=503, times=1, method="PUT", path_contains=job.id)
        assert job.send("POST", "logs", {"logs": []}).status_code == 200
        answers = [job.send("PUT", "metrics", POINT).status_code for _ in range(4)]
        assert answers == [500, 500, 503, 200]
        assert job.backend.call("GET", "/api/dev/faults") == {"faults": []}

    def test_a_lasting_fault_ends_when_it_is_cleared(self, job: FaultyJob) -> None:
        job.backend.add_fault(status=500)
        assert [job.send("PUT", "metrics", POINT).status_code for _ in range(3)] == [500] * 3
        job.backend.clear_faults()
        assert job.send("PUT", "metrics", POINT).status_code == 200

    def test_a_fault_that_contradicts_itself_is_refused(self, backend: FaultyBackend) -> None:
        for fault in (
            {"reset": True, "status": 500},
            {"down_s": 1, "half_body": True},
            {"status": 500, "retry_after_date": True},
            {"html": True},
            {"colour": 1},
        ):
            answer = requests.post(f"{backend.url}/api/dev/faults", json=fault, timeout=30)
            assert answer.status_code == 422


class Listener:
    listens = True

    def stop_listening(self) -> None:
        self.listens = False

    async def listen_again(self) -> None:
        self.listens = True


def test_clients_that_leave_by_themselves_do_not_keep_it_down() -> None:
    connections, listener = Connections(), Listener()
    connections.listener = listener

    def all_leave() -> None:
        for client in list(connections._open):
            connections._open.pop(client)[1].set()

    async def down() -> None:
        for port in (1, 2):
            transport: Any = Mock()
            transport.abort = all_leave
            connections._open[("127.0.0.1", port)] = (transport, asyncio.Event())
        await connections.all_down(0.01)

    asyncio.run(down())
    assert listener.listens
