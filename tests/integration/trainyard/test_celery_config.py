"""What Celery really puts on the wire with our settings, on a real Redis."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from backend_bridge.intake.admission import Admission
from backend_bridge.intake.job_control import JobControl
from tests.support.celery_app import bridge_celery
from tests.support.redis_server import RedisServer
from tests.support.requests import TOKEN, request_body
from tests.support.store_calls import job_store
from trainyard.contract.names import PRIORITY_DEFAULT, QUEUE_GPU, TASK_TRAIN
from trainyard.scheduling.dispatch import Dispatcher
from trainyard.scheduling.queue import JobQueue, _key, keys_of, shown_as
from trainyard.scheduling.slots import SlotRegistry
from trainyard.settings import read_settings
from trainyard.store.job_files import JobFiles


@pytest.fixture
def app(redis_server: RedisServer, real_redis: Redis) -> Iterator[Celery]:
    with bridge_celery(redis_server.url) as app:
        yield app


@pytest.fixture
def queue(app: Celery, real_redis: Redis) -> JobQueue:
    return JobQueue(app, real_redis)


@pytest.fixture
def admission(real_redis: Redis, queue: JobQueue) -> Admission:
    return Admission(job_store(real_redis), queue, slots=lambda: 1, max_queued=None)


@pytest.fixture
def control(admission: Admission, queue: JobQueue, real_redis: Redis) -> JobControl:
    dispatcher = Dispatcher(admission.store, queue, SlotRegistry(real_redis))
    return JobControl(dispatcher, JobFiles(read_settings()))


def messages(redis: Any) -> list[dict[str, Any]]:
    """Raw messages of the queue ``gpu``, next first, in the order in which a worker takes them."""
    lists = keys_of(QUEUE_GPU)
    return [json.loads(raw) for key in lists for raw in reversed(redis.lrange(key, 0, -1))]


def test_a_message_carries_the_attempts_id_and_nothing_else(
    admission: Admission, real_redis: Any
) -> None:
    admission.admit(request_body("job-1", access_token="acc-5f1d", dataset_content="inline-rows"))
    (message,) = messages(real_redis)
    arguments, keywords, embed = json.loads(base64.b64decode(message["body"]))
    assert (arguments, keywords) == (["job-1:1"], {})
    assert not any(embed.values())
    assert message["headers"]["task"] == TASK_TRAIN
    assert message["headers"]["id"] == "job-1:1"
    assert message["content-type"] == "application/json"
    assert message["properties"]["delivery_info"]["routing_key"] == QUEUE_GPU
    everything = json.dumps(message) + base64.b64decode(message["body"]).decode()
    for secret in (TOKEN, "acc-5f1d", "inline-rows", "data.jsonl"):
        assert secret not in everything


def test_the_token_is_under_one_key_of_the_whole_database(
    admission: Admission, real_redis: Any
) -> None:
    admission.admit(request_body("job-1", access_token="acc-5f1d"))
    holders = [key for key in real_redis.scan_iter() if TOKEN in _text(real_redis, key)]
    assert holders == ["trainyard:token:job-1"]


def _text(redis: Any, key: str) -> str:
    match redis.type(key):
        case "string":
            return str(redis.get(key))
        case "hash":
            return str(redis.hgetall(key))
        case "list":
            raw = [json.loads(message) for message in redis.lrange(key, 0, -1)]
            return str([(message, base64.b64decode(message["body"])) for message in raw])
        case "set":
            return str(redis.smembers(key))
        case "zset":
            return str(redis.zrange(key, 0, -1))
        case kind:
            return str(redis.xrange(key)) if kind == "stream" else kind


def test_the_order_in_the_broker_is_the_order_of_the_positions(
    admission: Admission, real_redis: Redis, queue: JobQueue, control: JobControl
) -> None:
    store = admission.store

    def agree(*names: str) -> bool:
        order = [message["headers"]["id"].rpartition(":")[0] for message in messages(real_redis)]
        return order == store.waiting() == list(names)

    for n, priority in enumerate((5, 5, 9, 0)):
        admission.admit(request_body(f"job-{n}", priority=priority))
    assert agree("job-3", "job-0", "job-1", "job-2")
    store.claim("job-0", 1, slot="s", worker="w")
    assert queue.remove("job-0:1")
    store.put_back("job-0", 1, "x")
    control.dispatcher.send("job-0", at_head=True)
    assert agree("job-3", "job-0", "job-1", "job-2")
    control.force_start("job-2")
    assert agree("job-2", "job-3", "job-0", "job-1")
    control.pause("job-3")
    control.resume("job-3")
    assert agree("job-2", "job-3", "job-0", "job-1")
    control.force_start("job-1")
    assert agree("job-1", "job-2", "job-3", "job-0")


def test_a_cancelled_job_leaves_the_broker(
    admission: Admission, control: JobControl, queue: JobQueue
) -> None:
    for n in range(3):
        admission.admit(request_body(f"job-{n}"))
    queue.enqueue("job-1:1")
    queue.enqueue("job-1:1", slot="box-0")
    answer = control.cancel("job-1")
    assert (answer.success, answer.previous_status) == (True, "queued")
    assert queue.attempts(["box-0"]) == {"job-0:1", "job-2:1"}
    assert queue.count(["box-0"]) == 2
    assert not queue.remove("job-1:1")


@pytest.mark.parametrize("raw", ["", "no json", "[]", "{}", '{"headers": 5}', "[" * 100_000])
def test_what_is_no_message_of_celery_is_passed_over(
    admission: Admission, real_redis: Redis, queue: JobQueue, raw: str
) -> None:
    admission.admit(request_body("job-1"))
    real_redis.lpush(keys_of(QUEUE_GPU)[0], raw)
    assert queue.attempts([]) - {""} == {"job-1:1"}
    assert queue.remove("job-1:1")
    assert queue.count([]) == 1


def test_the_settings_that_the_design_rests_on(app: Celery) -> None:
    conf = app.conf
    assert (conf.accept_content, conf.task_serializer) == (["json"], "json")
    assert conf.worker_concurrency == conf.worker_prefetch_multiplier == 1
    assert conf.worker_disable_prefetch
    assert not conf.task_acks_late
    assert not conf.task_reject_on_worker_lost
    assert conf.task_ignore_result
    assert conf.result_backend is None
    assert conf.task_time_limit is conf.worker_max_tasks_per_child is None
    assert not conf.worker_cancel_long_running_tasks_on_connection_loss
    assert not conf.worker_redirect_stdouts


def test_a_message_shows_which_job_it_is(queue: JobQueue, real_redis: Redis) -> None:
    """Flower and Celery's events show it; the arguments themselves are the attempt's id alone."""
    queue.enqueue("job-1:1", shown=shown_as("my run", "m" * 500, None))
    raw = json.loads(real_redis.lindex(_key(QUEUE_GPU, PRIORITY_DEFAULT), 0))  # type: ignore[arg-type]
    assert raw["headers"]["argsrepr"] == "['job-1:1']"
    assert raw["headers"]["kwargsrepr"] == repr({"name": "my run", "model": "m" * 100})
    assert json.loads(base64.b64decode(raw["body"]))[:2] == [["job-1:1"], {}]
