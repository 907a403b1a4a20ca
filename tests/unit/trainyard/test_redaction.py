"""No secret in a log or an error: known values wherever they are, others by their form."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from trainyard.contract.errors import ErrorKind, ErrorReport, Frame
from trainyard.contract.events import Prediction, Warnings
from trainyard.contract.names import PREDICTION_CHARACTERS_MAX
from trainyard.contract.verdicts import Verdict, VerdictKind
from trainyard.redaction import (
    CUT_CHARACTERS_MIN,
    KNOWN_CHARACTERS_MIN,
    MASK,
    Redactor,
    redactor_of,
    secrets_in,
)
from trainyard.settings import read_settings

KNOWN = "s3cr3t/V4lue+of=the job"
HF = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token {HF}.", "token [redacted]."),
        ("key AKIAIOSFODNN7EXAMPLE", "key [redacted]"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key = [redacted]"),
        ("redis://:p4ss@host:6379/0", "redis://[redacted]@host:6379/0"),
        ("https://me:p@ss@host/x?y=z", "https://[redacted]@host/x?y=z"),
        ("postgres://u:pa/ss@host/db", "postgres://u:[redacted]@host/db"),
        ("http://u:pa?ss@h", "http://u:[redacted]@h"),
        ("at hf_oauth_eyJhbGciOi.JIUzI1-NiJ9_x.", "at [redacted]"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [redacted]"),
        ("{'authorization': 'Basic dXNlcjpw'}", "{'authorization': 'Basic [redacted]'}"),
        ("sent bearer 0123456789abcdef", "sent bearer [redacted]"),
        ('{"job_token": "tok-123456"}', '{"job_token": "[redacted]"}'),
        ("access_token='abcdef123'", "access_token='[redacted]'"),
        ("DB_PASSWORD=hunter22", "DB_PASSWORD=[redacted]"),
        ("GET /x?X-Amz-Signature=abc123&n=1", "GET /x?X-Amz-Signature=[redacted]&n=1"),
        ("ghp_0123456789abcdefghij0123", "[redacted]"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.sig-nature", "[redacted]"),
    ],
)
def test_what_looks_like_a_secret_is_replaced(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "INFO step 5/10, loss 2.5000, learning rate 1e-05, 1234 tokens/s",
        "pad_token: <|endoftext|>, eos_token_id=50256, num_tokens=1234567",
        "KeyError: 'text'; the access_token is None",
        "https://huggingface.co/docs?page=2 and me@example.org",
        "http://host:8080/path?mail=me@example.org http://[::1]:80/me@example.org",
        "The bearer of this message",
        "api_key=None password: null",
    ],
)
def test_what_a_training_says_all_the_time_stays(text: str) -> None:
    assert Redactor([KNOWN]).line(text) == text


def test_verdicts_are_without_secrets() -> None:
    verdict = Verdict(kind=VerdictKind.DATA, sentence=f"the column {KNOWN} is not used")
    found = Redactor([KNOWN]).warnings(Warnings(warnings=[verdict]))
    assert found.warnings == [
        Verdict(kind=VerdictKind.DATA, sentence=f"the column {MASK} is not used")
    ]


def test_a_prediction_is_without_secrets_and_no_longer_than_it_may_be() -> None:
    text = f"{KNOWN}\n" + "hf_" * 3 + "x" * (PREDICTION_CHARACTERS_MAX - 20 - len(KNOWN))
    answer = text + KNOWN[: PREDICTION_CHARACTERS_MAX - len(text)]
    found = Redactor([KNOWN]).prediction(
        Prediction(step=1, prompt=f"a {KNOWN}", prediction=answer, ground_truth=f"b {KNOWN}")
    )
    assert found.ground_truth == f"b {MASK}"
    assert found.prompt == f"a {MASK}"
    assert found.prediction.startswith(f"{MASK}\nhf_")
    assert KNOWN[:CUT_CHARACTERS_MIN] not in found.prediction
    short = "k" * KNOWN_CHARACTERS_MIN
    grown = Redactor([short]).prediction(
        Prediction(step=1, prompt="", prediction=f"{short} " * 200)
    )
    assert len(grown.prediction) <= PREDICTION_CHARACTERS_MAX


def test_known_values_are_replaced_wherever_they_are() -> None:
    redactor = Redactor([KNOWN, "short"])
    assert redactor.text(f"x{KNOWN}y short") == f"x{MASK}y short"
    assert redactor.text("?t=s3cr3t%2FV4lue%2Bof%3Dthe%20job") == f"?t={MASK}"


@given(st.integers(1, len(HF) - 1), st.integers(0, 6), st.text("ab ", max_size=5))
def test_a_known_value_that_a_line_break_cuts_leaks_few_characters(
    cut: int, others: int, around: str
) -> None:
    lines = [f"{around}{HF[:cut]}", f"{HF[cut:]} {around}", *["line"] * others]
    shown = "\n".join(Redactor([HF]).lines(lines))
    assert not any(HF[i : i + 6] in shown for i in range(len(HF) - 6))


@given(st.lists(st.text("ab hf_:/@=token", max_size=30) | st.just(f"a {HF} b"), max_size=9))
def test_many_lines_are_as_each_alone(lines: list[str]) -> None:
    redactor = Redactor([HF])
    assert [redactor.text(line) for line in redactor.lines(lines)] == [
        redactor.text(redactor.line(line)) for line in lines
    ]
    assert HF not in "".join(redactor.lines(lines))


def test_the_environment_says_what_is_secret() -> None:
    environment = {
        "HF_TOKEN": "hf-value",
        "AWS_SECRET_ACCESS_KEY": "aws-value",
        "AWS_ACCESS_KEY_ID": "key-id",
        "WANDB_API_KEY": "wandb-value",
        "PROXY": "http://me:proxy-password@host",
        "TOKENIZERS_PARALLELISM": "true",
        "HOME": "/root",
    }
    found = set(secrets_in(environment))
    assert found == {"hf-value", "aws-value", "key-id", "wandb-value", "proxy-password"}


def test_our_own_settings_are_known() -> None:
    settings = read_settings(
        redis_url="redis://:redis-password@host",
        bridge_api_key="bridge-key",
        flower_basic_auth="me:flower-password",
    )
    redactor = redactor_of(settings, {})
    shown = redactor.text("redis-password, bridge-key, flower-password")
    assert shown == ", ".join([MASK] * 3)


def test_what_gives_access_in_the_urls_of_several_data_sets_is_known() -> None:
    urls = "https://me:first-password@host/a\nhttps://host/b?X-Amz-Signature=second-signature"
    redactor = redactor_of(read_settings(redis_url="redis://host"), {}, dataset_url=SecretStr(urls))
    assert redactor.text("first-password, second-signature") == ", ".join([MASK] * 2)


def test_an_error_loses_its_secrets_in_every_part() -> None:
    frame = Frame(file="a.py", line=1, function="f", code=f"login({HF!r})")
    report = ErrorReport(
        kind=ErrorKind.MODEL, message=f"{HF} x", hint=HF, exception=f"E: {HF}", frames=[frame]
    )
    shown = Redactor().report(report)
    assert HF not in shown.model_dump_json()
    assert (shown.message, shown.kind) == (f"{MASK} x", ErrorKind.MODEL)
    assert shown.frames[0].function == "f"


def test_json_within_json() -> None:
    text = json.dumps(json.dumps({"job_token": "tok-0123456789", "api_key": "k-0123456789"}))
    assert "0123456789" not in Redactor().text(text)
