"""Downloads that reach what jobs may not, or never end."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.datasets.check import CheckSpec, check
from tasks.datasets.sources.remote import addresses, failures, hub, s3
from tasks.datasets.sources.remote.fetch import fetch
from tasks.datasets.sources.remote.http import TransferLimits
from tasks.datasets.sources.remote.special_addresses import is_public
from tasks.errors import DatasetError
from tests.support.file_server import Answer, FileServer, Handler
from tests.support.requests import request_body
from trainyard.contract.parser import parse_request
from trainyard.contract.units import GB

NOT_PUBLIC = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.9 192.0.0.170 192.0.0.192 192.0.2.1 192.31.196.1
192.52.193.1 192.88.99.1 192.168.1.1 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1
203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::169.254.169.254
::8.8.8.8 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8
64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::7f00:1 64:ff9b:1::808:808 100::1
100:0:0:1::1 2001::1 2001:0:7f00:1:: 2001:10::1 2001:20::1 2001:2::1 2001:1::1 2001:30::1
2001:db8::1 2002:7f00:1:: 2002:a9fe:a9fe:: 2002:c0a8:101::1 2620:4f:8000::1 3fff::1 3fff:fff::1
3ffe::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1
::5efe:7f00:1 fe80::5efe:127.0.0.1 2620:fe::5efe:10.0.0.1 2620:fe::200:5efe:127.0.0.1
"""
PUBLIC = """
1.1.1.1 8.8.8.8 93.184.215.14 100.63.255.255 100.128.0.1 172.32.0.1 192.0.1.1 198.17.0.1
223.255.255.1 2606:4700::1111 2001:4860:4860::8888 2001:200::1 2a00:1450::1 2400:cb00::1
64:ff9b::8.8.8.8 ::ffff:8.8.8.8 2002:808:808::1 2620:fe::5efe:8.8.8.8
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_an_address_that_is_special_is_not_reached(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_an_address_of_the_internet_is(address: str) -> None:
    assert is_public(address)


def _dripping_head(to: Handler) -> None:
    to.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        to.wfile.write(b"X: a\r\n")
        time.sleep(0.05)


def _dripping_body(to: Handler) -> None:
    to.send_response(200)
    to.end_headers()
    while True:
        to.wfile.write(b"aaaaaaaaaa")
        time.sleep(0.05)


def _dripping_chunks(to: Handler) -> None:
    to.send_response(200)
    to.send_header("Transfer-Encoding", "chunked")
    to.end_headers()
    while True:
        to.wfile.write(b"2\r\naa\r\n")
        time.sleep(0.05)


@pytest.mark.parametrize("drip", [_dripping_head, _dripping_body, _dripping_chunks])
def test_a_server_that_drips_is_given_up(
    drip: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_TRIES", 1)
    monkeypatch.setattr(addresses, "HEAD_S", 0.5)
    limits = TransferLimits(10**7, allow_private=True, read_timeout_s=2, patience_s=0.5)
    started = time.monotonic()
    with (
        FileServer(answers={"/a": drip}) as server,
        pytest.raises(DatasetError, match=r"less than 1 kB/s|broke off|in time"),
    ):
        fetch(server.url("/a"), tmp_path, limits)
    assert time.monotonic() - started < 8


def test_a_name_that_is_found_at_the_second_look_up_only_is_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server of the attacker's fails at first, and then answers with an address of ours."""
    look_ups, real = list[str](), socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **options: Any) -> Any:
        look_ups.append(host)
        if len(look_ups) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return real("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(failures, "MOST_TRIES", 1)
    with FileServer(files={"/a.jsonl": b"secret"}) as server:
        url = server.url("/a.jsonl").replace("127.0.0.1", "evil.example")
        with pytest.raises(DatasetError):
            fetch(url, tmp_path, TransferLimits())
        assert server.requests == []


@pytest.mark.parametrize(
    "reference",
    ["hf://../whoami-v2", "hf://datasets/../whoami-v2", "hf://a/..", "hf://./a", "hf://..", "../a"],
)
def test_a_name_at_the_hub_leads_to_data_sets_alone(reference: str) -> None:
    assert hub.reference_of(reference) is None


@pytest.mark.parametrize(
    ("bucket", "allowed"),
    [("public", True), ("sets-a", True), ("private", False), ("sets", False), ("xpublic", False)],
)
def test_buckets_can_be_limited(bucket: str, allowed: bool, tmp_path: Path) -> None:
    place = s3.location_of(f"s3://{bucket}/a.jsonl")
    s3.check_allowed(place, ())
    if allowed:
        s3.check_allowed(place, ("public", "sets-*"))
        return
    limits = TransferLimits(s3_buckets=("public", "sets-*"))
    with pytest.raises(DatasetError, match="may not read from the bucket"):
        fetch(str(place), tmp_path, limits)


def test_several_data_sets_share_what_a_job_may_download(tmp_path: Path) -> None:
    paths = [f"/{letter}.jsonl" for letter in "abcde"]
    rows = [b'{"text": "%d and 1"}\n' % number * 9 for number in range(5)]
    with FileServer(files=dict(zip(paths, rows, strict=True))) as server:
        body = request_body(dataset_path=None, datasets=[{"path": server.url(p)} for p in paths])
        asked = parse_request(body)
        spec = CheckSpec(
            path="five",
            config=asked.config.model_copy(update={"datasets": asked.datasets}),
            with_model=False,
            model_roots=[],
            cache_dir=str(tmp_path),
            max_download_gb=2.5 * len(rows[0]) / GB,
            allow_private_urls=True,
        )
        report = check(spec)
    assert str(report.error).startswith("The first 3 of the data sets are too large: at most")
    assert "MAX_DOWNLOAD_GB" in report.hint
    assert {path for path, _ in server.requests} == set(paths[:3])
