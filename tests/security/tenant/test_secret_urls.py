"""Secrets in the URL of a data set: beside the token, and nowhere else."""

from __future__ import annotations

import json

import pytest
from redis import Redis

from tests.support.requests import request_body
from trainyard.contract.fields.clean_urls import clean_url, secrets_of
from trainyard.contract.parser import parse_request
from trainyard.redaction import Redactor
from trainyard.store.job_store import JobStore

S = "hunter2hunter2"
CLEANED = {
    f"https://user:{S}@host/x.jsonl": "https://host/x.jsonl",
    f"https://{S}@host:8443/x.jsonl": "https://host:8443/x.jsonl",
    f"https://user:a/{S}@host/x.jsonl": "https://host/x.jsonl",
    f"https://user:a@{S}@host/x.jsonl": "https://host/x.jsonl",
    f"https://host/x?file=a.jsonl&X-Amz-Signature={S}": "https://host/x?file=a.jsonl",
    f"https://host/x?x-amz-credential={S}&X-Amz-Date=2026": "https://host/x",
    f"https://host/x?X-Goog-Signature={S}&X-Goog-Credential={S}": "https://host/x",
    f"https://host/x?sv=2022&st=a&se=b&sr=b&sp=r&sig={S}": "https://host/x",
    f"https://host/x?AWSAccessKeyId={S}&Signature={S}&Expires=1": "https://host/x",
    f"https://host/x?Policy={S}&Key-Pair-Id={S}": "https://host/x",
    f"https://host/x?alt=media&token={S}": "https://host/x?alt=media",
    f"https://host/x?dl=0&rlkey={S}": "https://host/x?dl=0",
    f"https://host/x?what={S * 3}": "https://host/x",
    f"https://host/x?what={S}%2Bb": "https://host/x",
    f"https://host/x#{S}": "https://host/x",
    f"hf://user:{S}@datasets/a/b": "hf://datasets/a/b",
    f"S3://{S}@bucket/key": "S3://bucket/key",
}
STAY = (
    "https://host/x.jsonl?page=2&file=a/b.jsonl",
    f"https://host/x#sha256={'0' * 64}",
    "https://host/me@example.org/x.jsonl",
    "hf://datasets/owner/name@main?name=default",
    "s3://bucket/a/b.jsonl",
    "owner/name",
    "a folder/with spaces.jsonl",
    "See https://user:password@host/x and more",
)


@pytest.mark.parametrize("url", list(CLEANED))
def test_what_may_be_stored_of_a_url_gives_no_access(url: str) -> None:
    assert clean_url(url) == CLEANED[url]
    assert clean_url(CLEANED[url]) == CLEANED[url]
    assert S not in Redactor(secrets_of(url)).line(f"cannot read {url}: {S} is wrong")


@pytest.mark.parametrize("url", STAY)
def test_what_holds_no_secret_stays(url: str) -> None:
    assert clean_url(url) == url
    assert secrets_of(url) == []


@pytest.mark.parametrize("url", list(CLEANED))
@pytest.mark.parametrize("where", ["dataset_path", "config", "datasets", "elsewhere"])
def test_a_request_keeps_it_beside_its_token(url: str, where: str) -> None:
    body = request_body()
    if where == "dataset_path":
        body["dataset_path"] = url
    elif where == "config":
        del body["dataset_path"]
        body["config"]["dataset_path"] = url
    elif where == "datasets":
        del body["dataset_path"]
        body["datasets"] = [{"path": "a.jsonl"}, {"path": url, "weight": 2}]
    else:
        body["meta"] = {"link": [url]}
    request = parse_request(body)
    assert S not in json.dumps(request.without_secrets()) + repr(request)
    if where == "elsewhere":
        assert request.whole_dataset_path is None
    else:
        assert request.whole_dataset_path is not None
        assert request.whole_dataset_path.get_secret_value() == url
        paths = [request.dataset_path, *(one.path for one in request.datasets or ())]
        assert CLEANED[url] in paths


def test_the_job_store_has_it_in_one_key_which_goes_with_the_job(
    store: JobStore, redis: Redis
) -> None:
    url = f"https://user:{S}@host/x.jsonl"
    request = parse_request(request_body(execution_id="a", dataset_path=url))
    assert store.admit(request, slots=1).verdict == "created"
    found = store.dataset_url("a")
    assert found is not None
    assert found.get_secret_value() == url
    texts = {key: str(redis.get(key)) for key in redis.scan_iter() if redis.type(key) == "string"}
    assert [key for key, text in texts.items() if S in text] == ["trainyard:dataset-url:a"]
    assert S not in json.dumps(redis.hgetall("trainyard:job:a"))
    again = request_body(execution_id="a", dataset_path=url.replace(S, "another-password"))
    assert store.admit(parse_request(again), slots=1).verdict == "same"
    found = store.dataset_url("a")
    assert found is not None
    assert "another-password" in found.get_secret_value()


def test_a_whole_path_that_a_caller_sends_is_not_ours() -> None:
    request = parse_request(request_body(whole_dataset_path="https://a:b@evil/x"))
    assert request.whole_dataset_path is None
