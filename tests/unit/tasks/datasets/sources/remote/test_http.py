"""Data sets by URL: fetched whole or refused, and never from where a job may not reach."""

from __future__ import annotations

import base64
import hashlib
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from urllib3.util import connection

from tasks.datasets.sources.remote import addresses, failures, http, progress
from tasks.datasets.sources.remote.fetch import fetch
from tasks.datasets.sources.remote.http import TransferLimits
from tasks.datasets.sources.remote.special_addresses import is_public
from tasks.errors import DatasetError
from tests.support.certificates import write_certificate
from tests.support.file_server import FileServer, Handler, in_turn

LIMITS = TransferLimits(
    max_bytes=1_000_000, allow_private=True, connect_timeout_s=0.5, read_timeout_s=0.3
)
CONTENT = b'{"text": "hello"}\n' * 1000


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(files={"/a.jsonl": CONTENT}) as running:
        yield running


@pytest.fixture(autouse=True)
def no_waiting_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "SECONDS_BETWEEN_TRIES", 0)


def test_a_file_is_named_by_its_content(server: FileServer, tmp_path: Path) -> None:
    found = fetch(server.url("/a.jsonl?token=secret"), tmp_path, LIMITS)
    assert found.path.name == f"{hashlib.sha256(CONTENT).hexdigest()}.jsonl"
    assert found.path.read_bytes() == CONTENT
    assert found.name == "a.jsonl"


def test_an_offline_hub_does_not_mean_an_offline_web(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT


def test_a_changed_remote_file_is_noticed_and_an_unchanged_one_not_sent_again(
    server: FileServer, tmp_path: Path
) -> None:
    first = fetch(server.url("/a.jsonl"), tmp_path, LIMITS)
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS) == first
    assert "If-None-Match" in server.requests[-1][1]
    server.files["/a.jsonl"] = CONTENT.replace(b"hello", b"other")
    changed = fetch(server.url("/a.jsonl"), tmp_path, LIMITS)
    assert changed.path.read_bytes() == server.files["/a.jsonl"]
    assert first.path.read_bytes() == CONTENT, "a job that reads the old one goes on"


def test_without_validators_it_is_fetched_each_time(server: FileServer, tmp_path: Path) -> None:
    contents = [b"one\n", b"two\n"]
    server.answers["/a.txt"] = lambda to: to.answer(200, contents.pop(0))
    assert fetch(server.url("/a.txt"), tmp_path, LIMITS).path.read_bytes() == b"one\n"
    assert fetch(server.url("/a.txt"), tmp_path, LIMITS).path.read_bytes() == b"two\n"


def test_a_server_that_is_away_leaves_the_copy_of_the_last_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FileServer(files={"/a.jsonl": CONTENT}) as server:
        first = fetch(server.url("/a.jsonl"), tmp_path, LIMITS)
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS) == first
    assert "The copy of the last time is used" in caplog.text


# ---------------------------------------------------------------- broken downloads


def test_a_broken_download_goes_on_where_it_broke_off(server: FileServer, tmp_path: Path) -> None:
    server.answers["/a.jsonl"] = lambda to: to.serve(CONTENT, cut_after=7000)
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT
    assert [seen.get("Range") for _, seen in server.requests] == [
        None,
        "bytes=7000-",
        "bytes=14000-",
    ]


def test_a_later_job_goes_on_with_what_an_earlier_one_has(
    server: FileServer, tmp_path: Path
) -> None:
    server.answers["/a.jsonl"] = lambda to: to.serve(CONTENT, cut_after=1000)
    with pytest.raises(DatasetError, match="broke off"):
        fetch(server.url("/a.jsonl"), tmp_path, LIMITS)
    del server.answers["/a.jsonl"]
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT
    assert server.requests[-1][1]["Range"] == "bytes=5000-"


def test_a_file_that_changed_meanwhile_is_begun_again(server: FileServer, tmp_path: Path) -> None:
    other = CONTENT.replace(b"hello", b"other")
    server.answers["/a.jsonl"] = in_turn(
        lambda to: to.serve(CONTENT, cut_after=1000), lambda to: to.serve(other)
    )
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == other


def test_a_server_without_ranges_begins_again(server: FileServer, tmp_path: Path) -> None:
    """It answers 200 with the whole, or 206 with another part than was asked for."""

    def wrong_part(to: Handler) -> None:
        to.head(206, 10, Content_Range=f"bytes 0-9/{len(CONTENT)}", ETag='"x"')
        to.wfile.write(CONTENT[:10])

    def first(to: Handler) -> None:
        to.head(200, len(CONTENT), ETag='"x"')
        to.wfile.write(CONTENT[:5000])
        to.hang_up()

    server.answers["/a.jsonl"] = in_turn(
        first, wrong_part, lambda to: to.answer(200, CONTENT, ETag='"x"')
    )
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT


def test_passing_errors_are_tried_again(server: FileServer, tmp_path: Path) -> None:
    statuses = [503, 429, 500]
    server.answers["/a.jsonl"] = lambda to: (
        to.answer(statuses.pop()) if statuses else to.serve(CONTENT)
    )
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT


# ---------------------------------------------------------------- one clear error each


def stalling(to: Handler) -> None:
    to.head(200, len(CONTENT))
    to.wfile.write(CONTENT[:100])
    to.stall(1)


def lying_short(to: Handler) -> None:
    to.head(200, len(CONTENT) + 1000)
    to.wfile.write(CONTENT)
    to.hang_up()


def broken_chunks(to: Handler) -> None:
    to.head(200, None, Transfer_Encoding="chunked")
    to.wfile.write(b"5\r\nhello\r\nzz")
    to.hang_up()


def endless(to: Handler) -> None:
    to.head(200, None, Transfer_Encoding="chunked")
    while True:
        to.wfile.write(b"40000\r\n" + b"x" * 0x40000 + b"\r\n")


def too_long(to: Handler) -> None:
    to.head(200, 2_000_000)


FAILURES: dict[str, tuple[Any, str]] = {
    "missing": (lambda to: to.answer(404), r"no file at http://.* \(404\)"),
    "gone": (lambda to: to.answer(410), "no file at"),
    "forbidden": (lambda to: to.answer(403), "not open to this worker"),
    "login": (lambda to: to.answer(401), "not open to this worker"),
    "teapot": (lambda to: to.answer(418), "answered 418"),
    "busy": (lambda to: to.answer(503), r"cannot answer now \(503\)"),
    "stalls": (stalling, "did not answer in time"),
    "silent": (lambda to: to.stall(1), "did not answer in time"),
    "says more than it sends": (lying_short, "broke off"),
    "broken chunks": (broken_chunks, "broke off"),
    "hangs up": (lambda to: to.hang_up(), "broke off"),
    "too large": (too_long, r"is 0\.002 GB; at most 0\.001 GB"),
    "endless": (endless, "is larger than was said"),
    "web page": (
        lambda to: to.answer(200, b"<p>log in</p>", Content_Type="text/html; charset=utf-8"),
        "is a web page",
    ),
    "disguised web page": (lambda to: to.answer(200, b"\n<!DOCTYPE html><html>"), "is a web page"),
    "redirects for ever": (lambda to: to.answer(302, Location="/a.jsonl"), "more than 10 times"),
    "redirects to a file": (lambda to: to.answer(302, Location="file:///etc/passwd"), "file://"),
    "redirects to ftp": (lambda to: to.answer(302, Location="ftp://host/a"), "ftp://"),
    "wrong MD5": (
        lambda to: to.answer(
            200, CONTENT, Content_MD5=base64.b64encode(hashlib.md5(b"x").digest()).decode()
        ),
        "is damaged: its md5",
    ),
    "wrong SHA-256": (
        lambda to: to.answer(
            200,
            CONTENT,
            Repr_Digest=f"sha-256=:{base64.b64encode(hashlib.sha256(b'x').digest()).decode()}:",
        ),
        "is damaged: its sha256",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_has_one_clear_error(
    server: FileServer, tmp_path: Path, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_TRIES", 2)
    answer, said = FAILURES[failure]
    server.answers["/a.jsonl"] = answer
    with pytest.raises(DatasetError, match=said) as caught:
        fetch(f"http://me:hunter2@127.0.0.1:{server.port}/a.jsonl?key=s3cret", tmp_path, LIMITS)
    assert caught.value.mend
    assert "hunter2" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert not any((tmp_path / "downloads/content").iterdir()), "nothing half-fetched is kept"


def test_a_server_that_refuses_or_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DatasetError, match="refuses connections"):
        fetch(f"http://127.0.0.1:{port}/a", tmp_path, LIMITS)
    with pytest.raises(DatasetError, match=r"host of .* is not known"):
        fetch("http://nowhere.invalid/a", tmp_path, LIMITS)


def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    pem = write_certificate(tmp_path / "pem", x509.DNSName("localhost"))
    with FileServer(certificate=pem, files={"/a": CONTENT}) as server:
        with pytest.raises(DatasetError, match=r"certificate of https://.* cannot be trusted"):
            fetch(server.url("/a"), tmp_path, LIMITS)
        assert not server.requests


def test_what_drips_is_given_up(server: FileServer, tmp_path: Path) -> None:
    stop = threading.Event()

    def drip(to: Handler) -> None:
        to.head(200, None, Transfer_Encoding="chunked")
        while not stop.wait(0.05):
            to.wfile.write(b"1\r\nx\r\n")
            to.wfile.flush()

    server.answers["/a.jsonl"] = drip
    try:
        with pytest.raises(DatasetError, match="less than 1 kB/s"):
            fetch(server.url("/a.jsonl"), tmp_path, replace(LIMITS, patience_s=0.2))
    finally:
        stop.set()


def test_a_stated_checksum_is_held(server: FileServer, tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    fetch(f"{server.url('/a.jsonl')}#sha256={right}", tmp_path, LIMITS)
    with pytest.raises(DatasetError, match="is damaged: its sha256"):
        fetch(f"{server.url('/a.jsonl')}#sha256={'0' * 64}", tmp_path, LIMITS)


@pytest.mark.parametrize(
    "reference", ["file:///etc/passwd", "ftp://host/a", "gopher://x/", "http://", "https:///a"]
)
def test_other_schemes_are_refused(reference: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cannot be read from|is no URL"):
        fetch(reference, tmp_path, LIMITS)


def test_progress_is_told(
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_PROGRESS_LINES", 0)
    server.files["/a.jsonl"] = CONTENT * 50
    with caplog.at_level(logging.INFO):
        fetch(server.url("/a.jsonl"), tmp_path, LIMITS)
    assert "Downloaded 1 MB of 1 MB (100%) of http://127.0.0.1" in caplog.text


# ---------------------------------------------------------------- where a job may not reach


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"),
    ],
)
def test_private_addresses_are_known(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_known() -> None:
    assert all(map(is_public, ("93.184.215.14", "2606:2800:21f::1", "64:ff9b::5db8:d70e")))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"])
def test_a_private_address_is_not_even_connected_to(
    server: FileServer, tmp_path: Path, host: str
) -> None:
    with pytest.raises(DatasetError, match="leads to a private address"):
        fetch(
            f"http://{host}:{server.port}/a.jsonl", tmp_path, replace(LIMITS, allow_private=False)
        )
    assert not server.requests


@pytest.fixture
def one_is_public(monkeypatch: pytest.MonkeyPatch) -> TransferLimits:
    """127.0.0.1 passes for a public address; all others of loopback do not."""
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
    return replace(LIMITS, allow_private=False)


def test_every_hop_of_a_redirect_is_checked(
    server: FileServer, tmp_path: Path, one_is_public: TransferLimits
) -> None:
    with FileServer(host="127.0.0.2", files={"/secret": b"secret"}) as inside:
        server.answers["/a"] = lambda to: to.answer(302, Location="/b")
        server.answers["/b"] = lambda to: to.answer(307, Location=inside.url("/secret"))
        with pytest.raises(DatasetError, match=r"private address \(127\.0\.0\.2\)"):
            fetch(server.url("/a"), tmp_path, one_is_public)
        assert not inside.requests
    assert [path for path, _ in server.requests] == ["/a", "/b"]


def test_the_address_that_was_checked_is_the_one_connected_to(
    server: FileServer,
    tmp_path: Path,
    one_is_public: TransferLimits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that resolves to a public address when checked, and to a private one ever after."""
    with FileServer(host="127.0.0.2", port=server.port, files={"/a.jsonl": b"secret"}) as inside:
        real, answers = socket.getaddrinfo, ["127.0.0.1"]

        def rebinding(host: Any, *args: Any, **options: Any) -> Any:
            if host == "rebinding.example":
                host = answers.pop() if answers else "127.0.0.2"
            return real(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        found = fetch(f"http://rebinding.example:{server.port}/a.jsonl", tmp_path, one_is_public)
        assert found.path.read_bytes() == CONTENT
        assert not inside.requests
    assert server.requests[0][1]["Host"] == f"rebinding.example:{server.port}"


def test_a_name_with_one_private_address_among_others_is_refused(
    server: FileServer,
    tmp_path: Path,
    one_is_public: TransferLimits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = [(socket.AF_INET, 1, 6, "", (ip, server.port)) for ip in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(DatasetError, match="private address"):
        fetch(f"http://two.example:{server.port}/a.jsonl", tmp_path, one_is_public)


def test_of_several_addresses_the_one_that_answers_is_used(
    server: FileServer,
    tmp_path: Path,
    one_is_public: TransferLimits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first is of IPv6, say, and leads nowhere from here."""
    real = connection.create_connection

    def connect(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        if address[0] == "192.0.2.1":
            raise TimeoutError
        return real(address, *args, **options)

    monkeypatch.setattr(connection, "create_connection", connect)
    monkeypatch.setattr(addresses, "public_addresses", lambda *_: ["192.0.2.1", "127.0.0.1"])
    found = fetch(f"http://two.example:{server.port}/a.jsonl", tmp_path, one_is_public)
    assert found.path.read_bytes() == CONTENT


def test_a_proxy_of_the_environment_is_not_used(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url(""))
    limits = replace(LIMITS, allow_private=False)
    with pytest.raises(DatasetError, match="private address"):
        fetch("http://10.0.0.1/a.jsonl", tmp_path, limits)
    assert not server.requests


def test_headers_of_a_login_do_not_follow_to_another_host(tmp_path: Path) -> None:
    with FileServer() as first, FileServer(files={"/a": CONTENT}) as second:
        first.answers["/a"] = lambda to: to.answer(302, Location=second.url("/a"))
        part = tmp_path / "part"
        login = {"Authorization": "Bearer secret"}
        http.Download(first.url("/a"), part, LIMITS, login).run(http.Validators())
        assert first.requests[0][1]["Authorization"] == "Bearer secret"
        assert "Authorization" not in second.requests[0][1]
