"""Requests that would cost the bridge much more than they are long."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest

from tests.support.requests import request_body
from trainyard.contract.fields.bounded_json import VALUES_MAX, holds_too_much, loads
from trainyard.contract.fields.suggestions import IGNORED_MAX
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid

CPU_S = 1.0
MEMORY_BYTES = 40_000_000


def refused(body: Any) -> list[str]:
    started = time.process_time()
    with pytest.raises(RequestInvalid):
        parse_request(body)
    assert time.process_time() - started < CPU_S
    tracemalloc.start()  # which makes it several times slower
    with pytest.raises(RequestInvalid) as caught:
        parse_request(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY_BYTES
    assert len(str(caught.value)) < 20_000
    return [problem.path for problem in caught.value.problems]


MODEL = {"name": "m"}
COSTLY: dict[str, dict[str, Any]] = {
    "not numbers": {"x": [float("nan")] * 250_000},
    "zeros": {"x": [0] * 500_000},
    "empty objects": {"x": [{}] * 300_000},
    "wrong targets": {"config": {"model": MODEL, "lora": {"target_modules": [1] * 200_000}}},
    "some wrong targets": {"config": {"model": MODEL, "lora": {"target_modules": [1] * 15_000}}},
    "prompts": {"config": {"model": MODEL, "predictions": {"prompts": ["a"] * 200_000}}},
    "unknown keys": {"config": {"model": MODEL, "training": {f"z{n}": 1 for n in range(50_000)}}},
    "a long name": {"config": {"model": {"name": "secret" * 10_000}}},
    "a long text": {"config": {"model": MODEL, "training": {"num_train_epochs": "a" * 10**6}}},
    "a long key": {"k" * 10**6: 1},
    "many long texts": {"x": ["a" * 99_000] * 20},
    "a long path": {"dataset_path": "a" * 100_000},
    "a long name of a person": {"user_id": "a" * 100_000},
    "the token again and again": {"x": ["tok-7c1e0b52a9"] * 60_000},
}


@pytest.mark.parametrize("what", list(COSTLY))
def test_too_much_is_refused_soon(what: str) -> None:
    assert refused(request_body(**COSTLY[what]))


def test_what_is_ignored_has_a_size() -> None:
    names = {f"learning_rat{n}": 1 for n in range(10_000)}
    started = time.process_time()
    request = parse_request(request_body(training=names))
    assert time.process_time() - started < 3 * CPU_S
    assert len(request.ignored) == IGNORED_MAX + 1
    assert request.ignored[-1] == "9,900 more fields"


def test_what_lost_against_another_spelling_is_said_in_short() -> None:
    training = {"num_train_epochs": "a" * 90_000, "num_epochs": 1}
    request = parse_request(request_body(training=training))
    assert len(request.notes[0]) < 1000


@pytest.mark.parametrize("value", ["NaN", "1", "{}", "[]", '""', "null", '"a"', '{"a":1}'])
def test_a_body_is_counted_before_it_is_decoded(value: str) -> None:
    body = '{"x":[' + ",".join([value] * (VALUES_MAX + 1)) + "]}"
    with pytest.raises(RequestInvalid, match="more than 20,000 values"):
        loads(body)
    assert not holds_too_much(body[: len(body) // 8].encode())


@pytest.mark.parametrize("piece", ['"', '"\\', '\\"', "\\", '""', ",", '","', "[", "a"])
def test_counting_costs_little(piece: str) -> None:
    body = (piece * 3_000_000).encode()
    started = time.process_time()
    holds_too_much(b'{"x":' + body)
    assert time.process_time() - started < CPU_S


def test_rows_come_within_one_text() -> None:
    row = json.dumps({"messages": [{"role": "user", "content": 'a "b", [c], {d}\\'}] * 9})
    body = json.dumps(request_body(dataset_content="\n".join([row] * 5000)))
    assert body.count(",") > 5 * VALUES_MAX
    assert parse_request(loads(body)).dataset_content is not None
