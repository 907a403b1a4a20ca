"""Where a secret of a request may not stand, whatever the request looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.requests import TOKEN, request_body, start_request
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid, TrainingRequest


def test_the_token_is_kept_nowhere_but_in_its_field() -> None:
    request = start_request(access_token="acc-5f1d")
    for text in (repr(request), str(request), request.model_dump_json()):
        assert TOKEN not in text
        assert "acc-5f1d" not in text
    assert TOKEN not in json.dumps(request.without_secrets())


@pytest.mark.parametrize(
    "key",
    ["api_key", "apiKey", "hf_token", "hfToken", "accessToken", "token", "password", "job_token",
     "wandb_api_key", "AUTHORIZATION", "aws_secret_access_key", "credentials", "private_key"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["s3cr3t-91", {"value": "s3cr3t-91"}, ["s3cr3t-91"]])
def test_what_looks_like_a_secret_is_dropped_and_said(key: str, value: Any) -> None:
    config = {"model": {"name": "m", key: value}, "provider": {"list": [{key: value}]}}
    request = parse_request(request_body(config=config, meta={key: value}))
    assert "s3cr3t-91" not in json.dumps(request.without_secrets()) + repr(request)
    note = "(looks like a secret: not stored)"
    assert f"config.model.{key} {note}" in request.ignored
    assert f"config.provider.list.0.{key} {note}" in request.ignored
    assert f"meta.{key} {note}" in request.ignored


@pytest.mark.parametrize("key", ["eos_token", "pad_token", "tokenizer", "max_token", "keyboard"])
def test_what_only_sounds_like_one_is_kept(key: str) -> None:
    request = start_request(model={"name": "m", key: "x"})
    assert request.without_secrets()["config"]["model"][key] == "x"


def test_no_lower_error_hangs_on_the_refusal() -> None:
    """pydantic's own error holds the input, and a traceback would print it."""
    with pytest.raises(RequestInvalid) as caught:
        parse_request(request_body(dataset_path=5))
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=5)
)
_names = st.sampled_from(
    ["model", "name", "training", "data", "lora", "lora_config", "lora_r", "r", "batch_size",
     "num_train_epochs", "num_epochs", "warmup_steps", "warmup_ratio", "evaluation", "eval_steps",
     "target_modules", "columns", "token", "ignored", "notes", "max_seq_length", "tokenizer"]
) | st.text(st.characters(exclude_categories=[]), max_size=3)  # fmt: skip
_garbage = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)
_top = st.dictionaries(
    st.sampled_from(["config", "dataset_path", "dataset_content", "execution_id", "name", "x"]),
    _garbage,
)


def _with_tokens(top: dict[str, Any], config: Any, job_token: Any) -> dict[str, Any]:
    return {**top, "config": config, "job_token": job_token, "access_token": TOKEN}


_bodies = st.builds(
    _with_tokens,
    _top,
    st.fixed_dictionaries({"model": st.just({"name": "m"}) | _garbage, "training": _garbage})
    | _garbage,
    st.sampled_from([TOKEN, [TOKEN], {"t": TOKEN}, TOKEN + "\n", TOKEN + "\ud800"]),
)


@given(_bodies | _garbage)
def test_whatever_comes_in_is_parsed_or_refused_and_no_token_shows(body: Any) -> None:
    try:
        request = parse_request(body)
    except RequestInvalid as error:
        assert error.problems
        shown = f"{error} {error!r} {[p.model_dump() for p in error.problems]}"
        shown.encode()
    else:
        stored = json.dumps(request.without_secrets(), allow_nan=False)
        again = TrainingRequest.model_validate(json.loads(stored))
        assert again.config == request.config
        assert "\\ud8" not in stored
        shown = f"{request!r} {stored}"
    assert TOKEN not in shown


PROVIDER = {
    "headers": {"X-Auth": "Bearer {token}"},
    "callback": "https://backend.example/?t={token}",
    "region": "here",
}


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"provider": PROVIDER}, "config.provider.callback"),
        ({"predictions": {"prompts": ["a", "{token}"]}}, "config.predictions.prompts.1 ("),
        ({"tools": [["a", "x {token}"]]}, "config.tools.0.1 ("),
        ({"data": {"columns": {"{token}": "x"}}}, "config.data.columns: a field's name "),
    ],
)
def test_a_token_repeated_elsewhere_in_the_request_is_not_stored(
    config: dict[str, Any], where: str
) -> None:
    token = "tok-0123456789"
    body = request_body("job-1", job_token=token)
    body["config"] |= json.loads(json.dumps(config).replace("{token}", token))
    parsed = parse_request(body)
    assert token not in json.dumps(parsed.without_secrets())
    assert any(field.startswith(where) for field in parsed.ignored)
    if config == {"provider": PROVIDER}:
        assert parsed.config.provider == {"headers": {}, "region": "here"}
