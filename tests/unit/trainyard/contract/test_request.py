"""Requests in every spelling, what is refused and how, and where a secret may not stand."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.support.paths import SHARED
from tests.support.requests import request_body, start_request
from trainyard.contract.events import AnyEvent, Metric
from trainyard.contract.names import ContractError, attempt_id, parse_attempt_id
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid, StartRequest, TrainingRequest

SAMPLES = SHARED / "contract/requests"


def problems(body: Any) -> dict[str, str]:
    """Path → message of every wrong field of ``body``."""
    with pytest.raises(RequestInvalid) as caught:
        parse_request(body)
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems), "a field is named twice"
    return found


def test_a_switch_that_is_neither_is_refused_with_its_value() -> None:
    found = problems(request_body(training={"use_lora": "maybe"}))
    assert found == {"config.training.use_lora": "should be true or false, not 'maybe'"}


def test_a_value_of_another_kind_is_said_in_plain_words() -> None:
    training = {"learning_rate": "2,5", "batch_size": 2.5, "max_length": "x" * 99, "optim": 7}
    body = request_body(training=training)
    body["not_before"] = "2026-01-31"
    assert problems(body) == {
        "config.training.learning_rate": "should be a number, not '2,5'",
        "config.training.batch_size": "should be a whole number, not 2.5",
        "config.training.max_length": f"should be a whole number, not '{'x' * 50}...'",
        "config.training.optim": "should be a text, not a number",
        "not_before": "should be a time with its zone, such as 2026-01-31T12:00:00Z, not "
        "'2026-01-31'",
    }


# ---------------------------------------------------------------- spellings


def test_predictions_in_the_backends_own_names() -> None:
    asked = {
        **{"enabled": True, "sample_count": 50, "sample_frequency": "step", "step_interval": 20},
        **{"samples_path": "prompts.jsonl", "validators": []},
    }
    body = request_body()
    request = parse_request({**body, "config": {**body["config"], "predictions": asked}})
    predictions = request.config.predictions
    assert predictions is not None
    assert (predictions.count, predictions.frequency, predictions.step_interval) == (50, "step", 20)
    ignored = "".join(request.ignored)
    assert "predictions.samples_path" in ignored
    assert "sample_count" not in ignored


@pytest.mark.parametrize(
    "name", ["dpo", "sft_inline_content", "sft_normalised", "sft_ui", "trainer_names"]
)
def test_samples_of_the_backend_parse(name: str) -> None:
    if not SAMPLES.is_dir():
        pytest.skip("the contract's sample requests are not beside this repository")
    body = json.loads((SAMPLES / f"{name}.json").read_text())
    request = parse_request(body)
    assert request.execution_id == body["execution_id"]
    assert request.job_token.get_secret_value() == body["job_token"]
    assert body["job_token"] not in json.dumps(request.without_secrets())
    assert TrainingRequest.model_validate(request.without_secrets()).config == request.config


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ({"training": {"num_train_epochs": 5}}, ("training", "num_epochs", 5)),
        ({"training": {"per_device_train_batch_size": 6}}, ("training", "batch_size", 6)),
        ({"training": {"per_device_eval_batch_size": 7}}, ("training", "eval_batch_size", 7)),
        ({"training": {"evaluation_strategy": "epoch"}}, ("training", "eval_strategy", "epoch")),
        ({"training": {"evaluation_strategy": False}}, ("training", "eval_strategy", "no")),
        ({"training": {"max_seq_length": 256}}, ("training", "max_length", 256)),
        ({"data": {"max_seq_length": 256}}, ("training", "max_length", 256)),
        ({"data": {"max_length": 256}}, ("training", "max_length", 256)),
        ({"evaluation": {"eval_steps": 9}}, ("training", "eval_steps", 9)),
        ({"model": {"name": "m", "dtype": "bfloat16"}}, ("model", "torch_dtype", "bfloat16")),
        ({"training": {"lora_r": 4}}, ("lora", "r", 4)),
        ({"training": {"lora_alpha": 4}}, ("lora", "alpha", 4)),
        ({"training": {"lora_dropout": 0.5}}, ("lora", "dropout", 0.5)),
        ({"training": {"lora_target_modules": ["q"]}}, ("lora", "target_modules", ["q"])),
        ({"training": {"lora_bias": "all"}}, ("lora", "bias", "all")),
        ({"training": {"lora_config": {"r": 4}}}, ("lora", "r", 4)),
        ({"training": {"lora_config": {"lora_alpha": 4}}}, ("lora", "alpha", 4)),
        ({"lora": {"lora_r": 4}}, ("lora", "r", 4)),
    ],
)
def test_other_spellings_end_at_the_normalised_name(
    given: dict[str, Any], normal: tuple[str, str, Any]
) -> None:
    request = parse_request(request_body(config={"model": {"name": "tiny"}, **given}))
    section, name, value = normal
    assert getattr(getattr(request.config, section), name) == value
    assert request.ignored == []
    assert request.notes == []


def test_use_lora_without_figures_means_the_defaults() -> None:
    assert start_request(training={"use_lora": True}).config.lora is not None
    assert start_request(training={"use_lora": False}).config.lora is None


@pytest.mark.parametrize(
    ("training", "winner", "notes"),
    [
        (
            {"num_epochs": 2, "num_train_epochs": 5},
            ("training", "num_epochs", 2),
            ["config.training.num_epochs = 2 wins over config.training.num_train_epochs = 5"],
        ),
        (
            {"lora_config": {"r": 8}, "lora_r": 16},
            ("lora", "r", 8),
            ["config.training.lora_config.r = 8 wins over config.training.lora_r = 16"],
        ),
        ({"num_epochs": 5, "num_train_epochs": 5}, ("training", "num_epochs", 5), []),
    ],
)
def test_of_two_spellings_one_wins_and_a_note_says_so_as_the_caller_spelled_them(
    training: dict[str, Any], winner: tuple[str, str, Any], notes: list[str]
) -> None:
    request = start_request(training=training)
    section, name, value = winner
    assert getattr(getattr(request.config, section), name) == value
    assert request.notes == notes


@pytest.mark.parametrize(("steps", "ratio_left"), [(10, 0.0), (0, 0.1)])
def test_warmup_steps_above_zero_win_over_the_ratio(steps: int, ratio_left: float) -> None:
    request = start_request(training={"warmup_steps": steps, "warmup_ratio": 0.1})
    assert request.config.training.warmup_ratio == ratio_left
    assert bool(request.notes) == (steps > 0)


def test_the_callers_body_is_not_changed() -> None:
    body = request_body(training={"num_train_epochs": 5, "lora_config": {"r": 4}})
    before = pickle.dumps(body)
    parse_request(body)
    assert pickle.dumps(body) == before


def test_a_request_without_an_id_gets_one_of_its_own() -> None:
    first, second = (start_request(execution_id=None) for _ in range(2))
    assert first.execution_id != second.execution_id


def test_a_data_set_named_in_config_alone_is_found() -> None:
    config = {"model": {"name": "tiny"}, "dataset_path": "inner.jsonl"}
    request = parse_request(request_body(config=config, dataset_path=None))
    assert request.dataset_path == "inner.jsonl"


def test_unknown_fields_are_kept_and_named_as_ignored() -> None:
    request = parse_request(
        request_body(training={"neftune": 1}, model={"name": "m", "x": 1}, callback_url="u")
    )
    assert request.ignored == ["callback_url", "config.model.x", "config.training.neftune"]
    assert request.without_secrets()["config"]["training"]["neftune"] == 1


# ---------------------------------------------------------------- refusals


def test_every_wrong_field_is_named_at_once() -> None:
    body = request_body(
        ".hidden",
        model={},
        training={"batch_size": 0, "learning_rate": "fast", "method": "magic"},
        data={"train_split": 2},
        dataset_path=None,
        job_token=None,
    )
    assert set(problems(body)) == {
        "config.model.name",
        "config.training.batch_size",
        "config.training.learning_rate",
        "config.training.method",
        "config.data.train_split",
        "execution_id",
        "job_token",
        "dataset_path",
    }


def test_a_share_of_steps_is_pointed_to_the_ratio() -> None:
    found = problems(request_body(training={"warmup_steps": 0.1}))
    assert "send warmup_ratio 0.1" in found["config.training.warmup_steps"]


@pytest.mark.parametrize(
    ("training", "path"),
    [
        ({"per_device_train_batch_size": "x"}, "config.training.per_device_train_batch_size"),
        ({"lora_r": 0}, "config.training.lora_r"),
        ({"lora_config": {"lora_r": "x"}}, "config.training.lora_config.lora_r"),
        ({"lora_config": "x"}, "config.training.lora_config"),
        ({"lora_target_modules": 5}, "config.training.lora_target_modules"),
        ({"optim_args": 5}, "config.training.optim_args"),
        ({"use_liger_kernel": "x"}, "config.training.use_liger_kernel"),
        ({"evaluation_strategy": "often"}, "config.training.evaluation_strategy"),
        ({"batch_size": True}, "config.training.batch_size"),
        ({"batch_size": 1.5}, "config.training.batch_size"),
        ({"learning_rate": float("nan")}, "config.training.learning_rate"),
        ({"learning_rate": 10**400}, "config.training.learning_rate"),
        ({"unknown": float("inf")}, "config.training.unknown"),
    ],
)
def test_errors_stand_at_the_path_that_the_caller_wrote(
    training: dict[str, Any], path: str
) -> None:
    assert list(problems(request_body(training=training))) == [path]


@pytest.mark.parametrize("body", [None, [], "x", 5, True])
def test_a_body_that_is_no_object(body: Any) -> None:
    assert problems(body) == {"body": "should be a JSON object"}


@pytest.mark.parametrize("config", [None, [], "x", {}, {"model": None}, {"model": "tiny"}])
def test_a_config_that_is_none(config: Any) -> None:
    assert all(path.startswith("config") for path in problems(request_body() | {"config": config}))


NO_TOKENS = (None, "", 5, {}, [], "two words", "a\r\nX-Admin: 1", "tök", " ")
NO_JOB_IDS = (*("", ".", "..", ".x", "a/b", "a b", "a\n", "a:1", "ä", "a" * 129, "a\0", 5, ["a"]),)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        *(({"job_token": token}, "job_token") for token in NO_TOKENS),
        *(({"execution_id": job_id}, "execution_id") for job_id in NO_JOB_IDS),
        # Half of a surrogate pair could be written neither to Redis nor to a file.
        ({"name": "\ud800"}, "name"),
        ({"x": ["\udfff"]}, "x.0"),
        ({"y": {"\ud800": 1}}, "y"),
    ],
)
def test_what_no_header_no_path_and_no_file_can_hold(fields: dict[str, Any], path: str) -> None:
    assert list(problems(request_body() | fields)) == [path]


@pytest.mark.parametrize("job_id", ["a", "_", "-", "0", "a.b", "a..", "A-_.z", "a" * 128])
def test_job_ids_that_are_fine(job_id: str) -> None:
    assert start_request(job_id).execution_id == job_id


def test_deep_nesting_is_refused_not_a_crash() -> None:
    tools: dict[str, Any] = {}
    inner = tools
    for _ in range(5000):
        inner["a"] = inner = {}
    body = request_body(config={"model": {"name": "m"}, "tools": tools}, more=tools)
    assert set(problems(body)) == {"config.tools", "more.a"}


def test_a_million_mistakes_make_a_short_error() -> None:
    found = problems(request_body(more=[float("nan")] * 100_000))
    assert len(found) == 101
    assert found["body"] == "more fields are wrong: the first 100 are named"


# ---------------------------------------------------------------- ids and events


@pytest.mark.parametrize(
    "value",
    ["", ":", "job", "job:", ":1", "job:0", "job:01", "job:-1", "job:1 ", "job:1\n", "job:١",
     "job:" + "9" * 5000, "../x:1", "a:b:1"],
)  # fmt: skip
def test_attempt_ids_that_are_none(value: str) -> None:
    with pytest.raises(ContractError):
        parse_attempt_id(value)


@given(
    st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True), st.integers(1, 10**9 - 1)
)
def test_attempt_ids_there_and_back(job_id: str, attempt: int) -> None:
    assert parse_attempt_id(attempt_id(job_id, attempt)) == (job_id, attempt)


@pytest.mark.parametrize(
    "line",
    ['{"event": "metric", "step": 0, "epoch": 0}', '{"event": "metric", "step": 1, "epoch": NaN}',
     '{"event": "metric", "step": 1, "epoch": 1, "train_loss": Infinity}', '{"event": "x"}', "[]",
     '{"event": "metric", "step": 1, "epoch": 1, "surprise": 1}', "nonsense"],
)  # fmt: skip
def test_events_that_are_none(line: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AnyEvent).validate_json(line)


def test_a_metric_for_the_backend_has_known_values_and_a_whole_epoch() -> None:
    point = Metric(step=3, epoch=1.75, train_loss=0.5, eval_loss=None)
    assert point.to_backend() == {"step": 3, "epoch": 1, "train_loss": 0.5}


def test_a_start_request_made_from_a_dump_still_asks_for_its_token() -> None:
    with pytest.raises(ValidationError):
        StartRequest.model_validate(start_request().without_secrets())


def test_new_tokens_are_texts_by_either_name() -> None:
    def body(**tokenizer: Any) -> dict[str, Any]:
        config = {"model": {"name": "m"}, "tokenizer": tokenizer}
        return {"execution_id": "j", "job_token": "t", "dataset_path": "a", "config": config}

    special = parse_request(body(additional_special_tokens=["<a>"])).config.tokenizer
    assert special.add_special_tokens == ["<a>"]
    assert parse_request(body(add_tokens=[" plus"])).config.tokenizer.add_tokens == [" plus"]
    for wrong in (["<a>", ""], ["x" * 101], [f"<{n}>" for n in range(1001)], "<a>"):
        assert [path.split(".")[2] for path in problems(body(add_tokens=wrong))] == ["add_tokens"]
