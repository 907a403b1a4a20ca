"""Webhook: whoever waits is told once of each end, signed, whatever goes wrong on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from backend_bridge import webhook
from backend_bridge.webhook import Webhook, signed
from tests.support.running_job import RunningJob
from tests.support.store_calls import job_store
from tests.support.waiting import wait_for
from trainyard.store.keys import Key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""With the values of the test below from the standard's own reference."""


class Receiver:
    """Somebody who waits: answers with ``codes`` in turn, then with 204."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append(({**headers, "path": self.path}, body))
                self.send_response(receiver.codes.pop(0) if receiver.codes else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks?team=7"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.02,))
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@contextmanager
def telling(redis: Redis, url: str, senders: int = 1) -> Iterator[None]:
    stop = threading.Event()
    store = job_store(redis)
    threads = [
        threading.Thread(target=Webhook(redis, store, url, SecretStr(SECRET)).run, args=(stop,))
        for _ in range(senders)
    ]
    for thread in threads:
        thread.start()
    wait_for("ends are wanted", lambda: redis.exists(Key.WEBHOOK_WANTED))
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(webhook, "WAIT_MIN_S", 0.1)


def test_the_standard_s_own_example() -> None:
    body = b'{"test": 2432232314}'
    key = webhook._key_of(SECRET)
    headers = signed(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", body, lambda: 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_end_is_told_once_by_all_couriers(real_redis: Redis, receiver: Receiver) -> None:
    with telling(real_redis, receiver.url, senders=3):
        RunningJob(real_redis, "good").complete()
        RunningJob(real_redis, "bad").fail("no such model")
        wait_for("both are told", lambda: not real_redis.zcard(Key.ENDS))
    told = {
        json.loads(body)["data"]["job_id"]: (head, json.loads(body)) for head, body in receiver.got
    }
    assert len(receiver.got) == 2
    head, body = told["bad"]
    assert head["path"] == "/hooks?team=7"
    assert head["webhook-id"] == "bad:1:failed"
    assert body["type"] == "job.failed"
    assert body["data"]["error"] == "no such model"
    assert "job-token" not in json.dumps(body)
    assert told["good"][1]["type"] == "job.completed"


def test_an_end_that_another_courier_told_meanwhile_is_not_told_again(
    real_redis: Redis, receiver: Receiver
) -> None:
    """Both looked at the same moment; this one was slow."""
    real_redis.set(Key.WEBHOOK_WANTED, 1)
    RunningJob(real_redis, "good").complete()
    one, other = (
        Webhook(real_redis, job_store(real_redis), receiver.url, SecretStr(SECRET))
        for _ in range(2)
    )
    one._try("1 good")
    other._try("1 good")
    assert len(receiver.got) == 1


def test_what_is_not_taken_is_sent_again_with_the_same_id(
    real_redis: Redis, receiver: Receiver
) -> None:
    receiver.codes = [500, 302, 404]
    with telling(real_redis, receiver.url):
        RunningJob(real_redis, "good").complete()
        wait_for("it is told", lambda: not real_redis.zcard(Key.ENDS))
    assert [head["webhook-id"] for head, _ in receiver.got] == ["good:1:completed"] * 4
    assert {head["path"] for head, _ in receiver.got} == {"/hooks?team=7"}


def test_an_end_waits_for_a_courier_and_for_the_address(
    real_redis: Redis, receiver: Receiver
) -> None:
    with telling(real_redis, "http://127.0.0.1:9/"):
        RunningJob(real_redis, "good").complete()
        wait_for("it is put off", lambda: not real_redis.keys(f"{Key.ENDS}:*"))
    assert real_redis.zrange(Key.ENDS, 0, -1) == ["1 good"]
    with telling(real_redis, receiver.url):
        wait_for("it is told", lambda: not real_redis.zcard(Key.ENDS))
    assert len(receiver.got) == 1


def test_an_end_that_was_taken_back_is_not_told(real_redis: Redis, receiver: Receiver) -> None:
    with telling(real_redis, "http://127.0.0.1:9/"):
        job = RunningJob(real_redis, "again")
        job.fail("once")
    job.store.restart("again")
    with telling(real_redis, receiver.url):
        wait_for("it is dropped", lambda: not real_redis.zcard(Key.ENDS))
    assert receiver.got == []


def test_nothing_is_noted_if_nobody_waits(real_redis: Redis) -> None:
    RunningJob(real_redis, "good").complete()
    assert not real_redis.exists(Key.ENDS)


def test_what_nobody_takes_for_days_is_given_up(
    real_redis: Redis, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "GIVE_UP_AFTER_S", 0.0)
    receiver.codes = [500]
    with telling(real_redis, receiver.url):
        RunningJob(real_redis, "good").complete()
        wait_for("it is dropped", lambda: not real_redis.zcard(Key.ENDS))
    assert len(receiver.got) == 1
