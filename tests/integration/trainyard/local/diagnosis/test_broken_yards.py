"""Broken yards, one a row: the doctor names the true cause and the mend, and nothing else."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, NamedTuple

import pynvml
import pytest

from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from tests.support.waiting import wait_for
from tests.support.well_yard import WellYard, well_yard
from trainyard.local.diagnosis import finding, machine_findings
from trainyard.local.diagnosis.doctor import examine
from trainyard.local.diagnosis.finding import Level
from trainyard.redis_check.troubles import NO_DISK
from trainyard.scheduling.host_waits import HostWaits
from trainyard.service import cuda_driver
from trainyard.settings import read_settings, settings
from trainyard.store.keys import JobKey, Key


class Broken(NamedTuple):
    """What a row's function has broken, while the examination runs."""

    yard: WellYard
    server: RedisServer
    patch: pytest.MonkeyPatch
    stack: ExitStack
    folder: Path


def redis_down(broken: Broken) -> None:
    broken.yard.set(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")


def no_password(broken: Broken) -> None:
    broken.yard.set(REDIS_URL=f"redis://127.0.0.1:{broken.server.port}/0")


def wrong_password(broken: Broken) -> None:
    broken.yard.set(REDIS_URL=f"redis://:wr0ng@127.0.0.1:{broken.server.port}/0")


def unknown_host(broken: Broken) -> None:
    broken.yard.set(REDIS_URL="redis://no-such-host.invalid:6379/0")


def configured(name: str, value: int) -> Callable[[Broken], None]:
    def breaks(broken: Broken) -> None:
        broken.yard.redis.config_set(name, value)
        broken.stack.callback(broken.yard.redis.config_set, name, 0)

    return breaks


def replica(broken: Broken) -> None:
    other = broken.stack.enter_context(RedisServer())
    with other.client() as client:
        client.replicaof("127.0.0.1", "1")
    broken.yard.set(REDIS_URL=other.url)


def refused(error: str, heard: bool = True) -> Callable[[Broken], None]:
    return lambda broken: broken.yard.reports_wait(error=error, heard=heard)


def without_a_route(broken: Broken) -> None:
    route = "PUT /api/training/local/{jobId}/metrics"
    broken.yard.redis.hset(Key.MISSING_ROUTES, route, "5")
    broken.yard.reports_wait(error=f"the backend lacks {route} (HTTP 405)")


def backend_away(broken: Broken) -> None:
    broken.yard.set(BACKEND_URL=f"http://127.0.0.1:{free_port()}")
    broken.yard.reports_wait(error="connection refused")


def disk_full(broken: Broken) -> None:
    """The embedded Redis cannot write either, and the workers' beats end with that."""
    full = broken.stack.enter_context(RedisServer())
    usage = namedtuple("usage", "total used free")(0, 0, 10**8)
    broken.patch.setattr(machine_findings.shutil, "disk_usage", lambda _: usage)
    _stop_its_writes(broken, full)
    (broken.folder / "redis").mkdir(parents=True)
    (broken.folder / "redis" / "url").write_text(full.url)
    broken.yard.environment.delenv("REDIS_URL")


def its_disk_is_gone(broken: Broken) -> None:
    gone = broken.stack.enter_context(RedisServer())
    _stop_its_writes(broken, gone)
    broken.yard.set(REDIS_URL=gone.url)


def _stop_its_writes(broken: Broken, server: RedisServer) -> None:
    """Its folder is gone when it saves; it has one again, and need not save, when it ends."""
    folder = server._folder
    assert folder is not None
    shutil.rmtree(folder)
    broken.stack.callback(folder.mkdir)
    with server.client() as client:
        client.config_set("save", "3600 1")
        broken.stack.callback(_save_no_more, server)
        client.bgsave()
        status = "rdb_last_bgsave_status"
        wait_for("the save fails", lambda: client.info("persistence")[status] == "err")


def _save_no_more(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("save", "")


def bridge_without_redis(broken: Broken) -> None:
    """Redis is back for us, or another one; the bridge says of its own what it knows."""
    said = {"error": "Redis cannot be reached (ConnectionError); try again soon", "detail": ""}
    broken.yard.http.answers["GET", "/health"] = 503, said


def redis_down_while_the_bridge_runs(broken: Broken) -> None:
    redis_down(broken)
    bridge_without_redis(broken)


def no_slot(broken: Broken) -> None:
    broken.yard.slots.leave("box-0")


def port_held(broken: Broken) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>another program</html>")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    for end in (server.server_close, thread.join, server.shutdown):
        broken.stack.callback(end)
    broken.yard.set(BRIDGE_PORT=str(server.server_address[1]))


def host_away(broken: Broken) -> None:
    RunningJob(broken.yard.redis, "job-1")
    broken.yard.redis.hset(JobKey.JOB.of("job-1"), "home_host", "second")
    HostWaits(broken.yard.redis).note("job-1")


def clocks_differ(broken: Broken) -> None:
    broken.patch.setattr(finding, "time", SimpleNamespace(time=lambda: time.time() + 3600))
    broken.yard.set(BACKEND_URL=f"http://127.0.0.1:{free_port()}")


def crash_looping_slot(broken: Broken) -> None:
    broken.yard.slots.take_out("box-1", "its slot process has died 5 times in a row")


def gpu(driver: str, cuda: str | None) -> Callable[[Broken], None]:
    def breaks(broken: Broken) -> None:
        memory = namedtuple("memory", "free total")(10**10, 10**11)
        for name, answer in {
            "nvmlInit": None, "nvmlShutdown": None, "nvmlSystemGetDriverVersion": driver,
            "nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": 0, "nvmlDeviceGetName": "H200",
            "nvmlDeviceGetMemoryInfo": memory,
        }.items():  # fmt: skip
            broken.patch.setattr(pynvml, name, lambda *_, answer=answer: answer)
        broken.patch.setattr(cuda_driver, "torch_cuda", lambda: cuda)

    return breaks


def nothing_accepted(broken: Broken) -> None:
    broken.yard.reports_wait("job-1", error="HTTP 401: no", heard=False)
    broken.yard.reports_wait("job-2", error="HTTP 401: no", heard=False)


def no_courier(broken: Broken) -> None:
    broken.yard.redis.delete(Key.COURIERS)
    broken.yard.reports_wait()


ROWS: list[tuple[str, Callable[[Broken], None], list[tuple[str, Level, str, str]]]] = [
    ("R1 Redis down", redis_down,
     [("redis", "failure", "Redis does not answer", "Start it")]),
    ("R2 no password", no_password,
     [("redis", "failure", "asks for a password, and REDIS_URL has none", "PASSWORD@")]),
    ("R2 wrong password", wrong_password,
     [("redis", "failure", "does not take the user and password", "Correct them")]),
    ("R3 unknown host", unknown_host,
     [("redis", "failure", "No name server knows the host of REDIS_URL", "Correct it")]),
    ("R4 memory full", configured("maxmemory", 1),
     [("redis", "failure", "takes no writes: its memory is full", "Raise maxmemory")]),
    ("R4 too few replicas", configured("min-replicas-to-write", 1),
     [("redis", "failure", "too few of its replicas answer", "Mend the replicas")]),
    ("R4 a replica", replica,
     [("redis", "failure", "is a read-only replica", "to the primary")]),
    ("R5 401", refused("HTTP 401: Invalid token"),
     [("delivery", "failure", "do not get through", "job_token")]),
    ("R5 404", refused("HTTP 404: no such job"),
     [("delivery", "failure", "The last try failed: HTTP 404", "make its row")]),
    ("R5 500", refused("HTTP 500: it broke"),
     [("delivery", "failure", "The last try failed: HTTP 500", "backend itself fails")]),
    ("R5 a page", refused("HTTP 200, but its body is no JSON: a proxy's page or half an answer"),
     [("delivery", "failure", "its body is no JSON", "Something else than the backend")]),
    ("R5 all of it", nothing_accepted,
     [("delivery", "failure", "The backend accepts nothing, of job job-", "job_token")]),
    ("R6 405", without_a_route,
     [("delivery", "failure", "The backend lacks PUT", "examples/nextjs")]),
    ("R7 backend away", backend_away,
     [("backend", "failure", "No backend answers", "BACKEND_URL")]),
    ("R8 disk full", disk_full,
     [("disk", "failure", "0.1 GB are free", "Make room")]),
    ("R8 Redis's own disk", its_disk_is_gone,
     [("redis", "failure", NO_DISK.sentence.removeprefix("this Redis"), "Make room there")]),
    ("R9 Redis down, the bridge runs", redis_down_while_the_bridge_runs,
     [("redis", "failure", "Redis does not answer", "Start it")]),
    ("R9 the bridge's Redis down", bridge_without_redis,
     [("bridge", "failure", "says: Redis cannot be reached", "REDIS_URL")]),
    ("R10 no slot", no_slot,
     [("slots", "failure", "No worker is alive", "worker.launcher")]),
    ("R11 the port is held", port_held,
     [("bridge", "failure", "is no bridge: port", "BRIDGE_PORT")]),
    ("R12 clocks", clocks_differ,
     [("clocks", "warning", "differ by 3600 s", "NTP"),
      ("backend", "failure", "No backend answers", "BACKEND_URL")]),
    ("R13 crash loop", crash_looping_slot,
     [("slots", "failure", "box-1 takes no jobs: its slot process has died", "restart")]),
    ("R14 driver", gpu("550.90.07", "13.0"),
     [("driver", "failure", "550.90.07 is too old for the CUDA 13.0", "580 or later")]),
    ("R14 a build without CUDA", gpu("580.90", None),
     [("driver", "failure", "torch is a build without CUDA", "TORCH_BUILD")]),
    ("a host is away", host_away,
     [("hosts", "warning", "job-1, waits for host second, which has", "Start the workers")]),
    ("no courier", no_courier,
     [("couriers", "failure", "No courier works", "logs")]),
]  # fmt: skip


@pytest.fixture
def broken(
    redis_server: RedisServer, real_redis: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Broken]:
    usage = namedtuple("usage", "total used free")(0, 0, 10**12)
    monkeypatch.setattr(machine_findings.shutil, "disk_usage", lambda _: usage)
    with (
        ExitStack() as stack,
        well_yard(redis_server, real_redis, monkeypatch, tmp_path / "home") as yard,
    ):
        yield Broken(yard, redis_server, monkeypatch, stack, tmp_path / "home")


OF_THE_TESTS_REDIS = ("append-only file", "known hole")


def wrong() -> list[tuple[str, Level, str, str]]:
    """What is not ok, but for what the tests' own Redis is warned of."""
    settings.cache_clear()
    found = [f for f in examine(read_settings()) if f.level != "ok"]
    assert all(f.mend for f in found)
    assert "wr0ng" not in repr(found)
    ours = [f for f in found if not any(words in f.sentence for words in OF_THE_TESTS_REDIS)]
    return [(f.check, f.level, f.sentence, f.mend) for f in ours]


@pytest.mark.parametrize(
    ("breaks", "expected"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_the_true_cause_the_mend_and_nothing_more(
    broken: Broken, breaks: Callable[[Broken], None], expected: list[tuple[str, Level, str, str]]
) -> None:
    breaks(broken)
    found = wrong()
    assert [one[:2] for one in found] == [one[:2] for one in expected], found
    for (_, _, sentence, mend), (_, _, said, to_do) in zip(found, expected, strict=True):
        assert said in sentence
        assert to_do in mend


def test_nothing_is_wrong_with_a_yard_that_is_well(broken: Broken) -> None:
    assert wrong() == []


def test_one_job_that_is_refused_is_a_warning_while_others_are_accepted(broken: Broken) -> None:
    broken.yard.reports_wait(error="HTTP 401: no", heard=False)
    broken.yard.redis.set(Key.ACCEPTED, broken.yard.redis.time()[0] * 1000)
    ((check, level, sentence, _),) = wrong()
    assert (check, level) == ("delivery", "warning")
    assert "has not accepted anything of job job-1: HTTP 401" in sentence
