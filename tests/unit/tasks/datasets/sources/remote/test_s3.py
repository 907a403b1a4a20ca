"""Data sets by ``s3://`` from a local S3 server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tasks.datasets.parts import open_parts
from tasks.datasets.sources.remote import failures, s3
from tasks.datasets.sources.remote.fetch import fetch
from tasks.datasets.sources.remote.http import TransferLimits
from tasks.errors import DatasetError
from tests.support.file_server import FileServer

LIMITS = TransferLimits(max_bytes=100_000, connect_timeout_s=0.5, read_timeout_s=2)
CONTENT = b'{"text": "hello"}\n' * 1000


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket that is emptied for each test."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(failures, "SECONDS_BETWEEN_TRIES", 0)
    made = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1").Bucket("data")
    made.create()
    yield made
    made.objects.delete()


def test_an_object_is_fetched_and_a_change_noticed(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="sets/a.jsonl", Body=CONTENT)
    first = fetch("s3://data/sets/a.jsonl", tmp_path, LIMITS)
    assert (first.name, first.path.read_bytes()) == ("a.jsonl", CONTENT)
    written = first.path.stat().st_ctime_ns
    assert fetch("s3://data/sets/a.jsonl", tmp_path, LIMITS) == first
    assert first.path.stat().st_ctime_ns == written, "not fetched again"
    bucket.put_object(Key="sets/a.jsonl", Body=CONTENT[:-1] + b" ")
    assert fetch("s3://data/sets/a.jsonl", tmp_path, LIMITS).path != first.path


def test_a_folder_of_shards_is_fetched_whole(bucket: Any, tmp_path: Path) -> None:
    for name in ("train-0.jsonl", "train-1.jsonl", "test.jsonl"):
        bucket.put_object(Key=f"set/{name}", Body=CONTENT)
    found = fetch("s3://data/set/", tmp_path, LIMITS)
    assert [len(part) for part in open_parts(found.path, tmp_path)] == [2000, 1000]


def test_a_broken_download_goes_on_where_it_broke_off(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_object(Key="a.jsonl", Body=CONTENT)
    real, asked = s3._client, []

    class Cutting:
        """The real client, whose first answer ends too soon."""

        def __init__(self, limits: TransferLimits) -> None:
            self._inner = real(limits)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def get_object(self, **options: Any) -> Any:
            asked.append(options["Range"])
            answer = self._inner.get_object(**options)
            if len(asked) == 1:
                body = answer["Body"].read()[:5000]
                answer["Body"] = s3_body(body, int(answer["ContentLength"]))
            return answer

    monkeypatch.setattr(s3, "_client", Cutting)
    assert fetch("s3://data/a.jsonl", tmp_path, LIMITS).path.read_bytes() == CONTENT
    assert asked == ["bytes=0-", "bytes=5000-"]


def s3_body(content: bytes, stated: int) -> Any:
    from botocore.response import StreamingBody

    return StreamingBody(io.BytesIO(content), stated)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://data/missing.jsonl", "no object s3://data/missing.jsonl"),
        ("s3://no-such-bucket/a.jsonl", "no object s3://no-such-bucket"),
        ("s3://no-such-bucket/", "no object s3://no-such-bucket"),
        ("s3://data/empty/", "nothing below s3://data/empty/"),
        ("s3://data/large.jsonl", r"at most 0\.0001 GB"),
        ("s3://data/large/", r"at most 0\.0001 GB"),
        ("s3:///a.jsonl", "names no bucket"),
        ("s3://Not A Bucket/a", "is no place in a store"),
    ],
)
def test_each_failure_has_one_clear_error(bucket: Any, tmp_path: Path, url: str, said: str) -> None:
    bucket.put_object(Key="large.jsonl", Body=b"x" * 100_001)
    bucket.put_object(Key="large/1.jsonl", Body=b"x" * 60_000)
    bucket.put_object(Key="large/2.jsonl", Body=b"x" * 60_000)
    with pytest.raises(DatasetError, match=said) as caught:
        fetch(url, tmp_path, LIMITS)
    assert caught.value.mend


def test_a_store_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(DatasetError, match="store of s3://data/a cannot be reached"):
        fetch("s3://data/a", tmp_path, LIMITS)


def test_a_store_that_is_busy_is_asked_five_times_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Any
) -> None:
    with FileServer(answers={"/data": lambda to: to.answer(503)}) as busy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", busy.url(""))
        with pytest.raises(DatasetError, match="The store answered 503 for s3://data/set/"):
            fetch("s3://data/set/", tmp_path, LIMITS)
        assert len(busy.requests) == failures.MOST_TRIES
