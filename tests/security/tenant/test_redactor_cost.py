"""Cost of masking text that a tenant wrote to make it cost much: the lease is renewed meanwhile."""

from __future__ import annotations

import time

import pytest

from trainyard.log_lines import stamp_all
from trainyard.redaction import _FORMS, MASK, Redactor

CHARACTERS = 1_000_000
CPU_S = 0.5
SECRET = "hf_SECRETSECRETSECRETSECRET12"
HOSTILE = (
    *("secret", "secret=", "secret-", "secret\\", "secret ", "passwd-", "passw-", "password: "),
    *("access_key_", "api_key", "api-key:", "apikey=b'", "secret='"),
    *("://", "://a:", "://a@", "://a:b", "://:", "://a:1", "://a?b:", "://[", "://a:@"),
    *("eyJaaaaaaaa", "eyJ", "eyJaaaaaaaa.", "-eyJ", "eyJaaaaaaaaaaa.aaaaaaaa.", "a.", ".eyJ"),
    *("hf_", "hf_oauth_", "hf_jwt_a", "api_org_", "hf_aaaaaaaaaaaaaaa ", "hf_oauth_ "),
    *("akia", "AKIAAAAAAAAAAAAAAAA", "ghp_", "github_pat_", "github_pat_a-", "sk-", "sk-a "),
    *("authorization", "authorization: bearer ", "authorization:", "authorization ", "bearer "),
    *("?x-amz-", "?x-amz-a", "&token", "?a-", "&a-token", "?sig", "?token=", "&key=a&", "?-token"),
    *("job_token_", "job_token:", "job-token ", "jobtoken\\", "hf_token_id", "token ", "token='"),
    *(SECRET[:7], SECRET[1:8], "SECRETS-", SECRET[3:], "SECRET1", SECRET[:6]),
)
FILLED = (
    "secret",
    "authorization",
    "bearer",
    "://",
    "://a:",
    "?x-amz-",
    "&token",
    "eyJ",
    "job_token",
)
"""Each once, before a long run of one character."""


REDACTOR = Redactor([SECRET, "another-known-value"])


def cpu_s(text: str) -> float:
    started = time.process_time()
    REDACTOR.line(text)
    return time.process_time() - started


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_megabyte_of_what_looks_like_a_secret_costs_little(piece: str) -> None:
    assert cpu_s((piece * (CHARACTERS // len(piece) + 1))[:CHARACTERS]) < CPU_S


@pytest.mark.parametrize("filling", [" ", "a", "\\", "a."])
@pytest.mark.parametrize("piece", FILLED)
def test_a_long_run_behind_it_costs_little(piece: str, filling: str) -> None:
    assert cpu_s(piece + filling * (CHARACTERS // len(filling))) < CPU_S


@pytest.mark.parametrize("piece", ["\x1b[", "\x1b]", "\x1b[0;", "\x1b", "\x00"])
def test_control_characters_cost_little(piece: str) -> None:
    started = time.process_time()
    stamp_all([(piece * CHARACTERS)[:CHARACTERS]], 0, Redactor())
    assert time.process_time() - started < 4 * CPU_S  # each becomes four characters


def test_each_form_is_tried_with_hostile_text() -> None:
    lowered = [piece.lower() for piece in HOSTILE]
    untried = [
        signs for signs, _ in _FORMS if not any(sign in p * 2 for sign in signs for p in lowered)
    ]
    assert not untried


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SECRET[1:], MASK),
        (f"f {SECRET[5:14]} b", f"f {MASK} b"),
        (f"f{SECRET[3:-1]}{SECRET[4:12]}b", f"f{MASK}{MASK}b"),
        (f"a {SECRET[-8:]}", f"a {MASK}"),
        ("SECRETS of 7", "SECRETS of 7"),
        ("ü" + SECRET[2:20] + "ü", f"ü{MASK}ü"),
    ],
)
def test_inner_pieces_of_known_values_are_masked(text: str, shown: str) -> None:
    assert Redactor([SECRET]).text(text) == shown
    before, after = ["line"] * 20, ["line"] * 20
    assert Redactor([SECRET]).lines([*before, text, *after]) == [*before, shown, *after]


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("tok-training-91ab", "the training ends"),
        ("token-of-job-20261130-0001-x9", "Attempt 1 of job 20261130-0001 starts"),
        ("s3cr3t--------0000000000", "-------- 0000000000"),
        ("two words and more of them", "two words and others"),
    ],
)
def test_words_of_every_log_stay(known: str, text: str) -> None:
    assert Redactor([known], public=["20261130-0001"]).text(text) == text
