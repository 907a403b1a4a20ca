"""A job in the place of a model's name, and what becomes of its adapter: how they are written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.requests import request_body
from trainyard.contract.fields.job_reference import JobReference, job_reference
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid
from trainyard.contract.rules import problems


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tiny", None),
        ("owner/job", None),
        ("job:a.b-1", JobReference("a.b-1", None)),
        ("job:a@checkpoint-40", JobReference("a", "checkpoints/checkpoint-40")),
        ("job:a@checkpoints/checkpoint-40", JobReference("a", "checkpoints/checkpoint-40")),
    ],
)
def test_a_name_and_the_job_that_it_refers_to(name: str, meant: JobReference | None) -> None:
    assert job_reference(name) == meant


OWN_SHAPE = r"r: the adapter that is trained on has its own"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        *(
            ({"model": {"name": name}}, r"^config\.model\.name: a job's ")
            for name in ("job:", "job:../a", "job:a/b", "job:a@", "job:a@last", "job: a")
        ),
        ({"lora": "merge"}, r"config\.lora\.adapter: should be 'continue'"),
        ({"lora": {"adapter": "continue", "r": 16}}, OWN_SHAPE),
        ({"lora": {"adapter": "continue"}, "training": {"lora_r": 8}}, OWN_SHAPE),
    ],
)
def test_what_means_nothing_is_refused(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestInvalid, match=said):
        parse_request(request_body(**sections))


def said(**sections: Any) -> dict[str, str]:
    config = parse_request(request_body(**sections)).config
    return {p.path.removeprefix("config."): p.message for p in problems(config, gpu=None)}


@pytest.mark.parametrize("lora", ["continue", {"adapter": "continue"}])
def test_lora_in_one_word(lora: Any) -> None:
    request = parse_request(request_body(lora=lora, training={"use_lora": True}))
    assert request.config.lora is not None
    assert (request.config.lora.adapter, request.ignored) == ("continue", [])
    assert said(lora=lora, training={"use_lora": True}) == {}


@pytest.mark.parametrize(
    ("sections", "path", "message"),
    [
        ({"lora": "new"}, "lora.adapter", "needs config.training.use_lora"),
        ({"model": {"name": "job:a", "revision": "main"}}, "model.revision", "one result"),
        (
            {"lora": "new", "training": {"use_lora": True, "quantization": {"load_in_4bit": True}}},
            "lora.adapter",
            "weights that are whole",
        ),
        (
            {"lora": {"adapter": "new", "bias": "all"}, "training": {"use_lora": True}},
            "lora.adapter",
            "has no biases",
        ),
        (
            {"lora": "continue", "training": {"use_lora": True, "method": "reward_model"}},
            "lora.adapter",
            "whole models only",
        ),
        (
            {
                "lora": "continue",
                "training": {
                    "use_lora": True,
                    "distributed": {"processes": 2, "strategy": "fsdp"},
                },
            },
            "lora.adapter",
            "fsdp goes on from no adapter",
        ),
    ],
)
def test_what_an_origin_does_not_go_with(sections: dict[str, Any], path: str, message: str) -> None:
    assert message in said(**sections)[path]
