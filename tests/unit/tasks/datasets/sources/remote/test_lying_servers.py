"""Servers that lie about lengths, and redirects that leave TLS: no row is lost without a word."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from tasks.datasets.readers.problems import UnreadableRows
from tasks.datasets.sources.remote import addresses, http
from tasks.datasets.sources.remote.fetch import fetch
from tasks.datasets.sources.remote.http import TransferLimits
from tasks.errors import DatasetError
from tests.support.certificates import write_certificate
from tests.support.data_files import read_rows
from tests.support.file_server import FileServer, Handler, in_turn

LIMITS = TransferLimits(
    max_bytes=1_000_000, allow_private=True, connect_timeout_s=5, read_timeout_s=5
)
LINE = b'{"text": "hello"}\n'
CONTENT = LINE * 1000
AT_A_ROW, IN_A_ROW = len(LINE) * 500, len(LINE) * 500 + 7


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(files={"/a.jsonl": CONTENT}) as running:
        yield running


@pytest.fixture(autouse=True)
def few_tries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SECONDS_BETWEEN_TRIES", 0)
    monkeypatch.setattr(http, "MOST_TRIES", 2)


def says_less(to: Handler, stated: int, *, in_one: bool = True, keep: bool = False) -> None:
    """Send the whole file under too short a length, at once or the rest a little later."""
    to.head(200, stated, ETag='"x"')
    if in_one:
        to.wfile.write(CONTENT)
    else:
        to.wfile.write(CONTENT[:stated])
        to.stall(0.1)
        to.wfile.write(CONTENT[stated:])
    if keep:
        to.close_connection = False


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("in_one", [True, False])
@pytest.mark.parametrize("stated", [AT_A_ROW, IN_A_ROW, len(CONTENT) - 1, 0])
def test_more_than_was_stated_is_never_a_file_cut_short(
    server: FileServer, tmp_path: Path, stated: int, in_one: bool, keep: bool
) -> None:
    server.answers["/a.jsonl"] = lambda to: says_less(to, stated, in_one=in_one, keep=keep)
    with pytest.raises(DatasetError, match="sends more than the length that it states") as caught:
        fetch(server.url("/a.jsonl"), tmp_path, LIMITS)
    assert "Content-Length" in caught.value.mend
    assert len(server.requests) == 2, "another try may mend it"
    assert not any((tmp_path / "downloads/content").iterdir())
    del server.answers["/a.jsonl"]
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT


def test_it_is_noticed_where_public_addresses_alone_are_allowed(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda _: True)
    server.answers["/a.jsonl"] = lambda to: says_less(to, AT_A_ROW)
    with pytest.raises(DatasetError, match="sends more than the length that it states"):
        fetch(server.url("/a.jsonl"), tmp_path, replace(LIMITS, allow_private=False))


def test_a_server_that_keeps_its_connections_is_taken_at_its_word(
    server: FileServer, tmp_path: Path
) -> None:
    def keeping(to: Handler) -> None:
        to.answer(200, CONTENT)
        to.close_connection = False

    server.answers["/a.jsonl"] = keeping
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT
    assert server.requests[0][1]["Connection"] == "close"


def test_a_length_that_was_wrong_once_is_mended_by_the_next_try(
    server: FileServer, tmp_path: Path
) -> None:
    server.answers["/a.jsonl"] = in_turn(
        lambda to: says_less(to, AT_A_ROW), lambda to: to.serve(CONTENT)
    )
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT
    assert "Range" not in server.requests[1][1], "what came under a wrong length is not built on"


def test_less_of_the_rest_than_was_asked_for_is_not_the_end(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may answer a range with a part of it: each is right, and the file is not whole."""
    monkeypatch.setattr(http, "MOST_TRIES", 3)

    def part(to: Handler, first: int, end: int) -> None:
        stated = f"bytes {first}-{end - 1}/{len(CONTENT)}"
        to.head(206, end - first, Content_Range=stated, ETag='"x"')
        to.wfile.write(CONTENT[first:end])

    def breaks_off(to: Handler) -> None:
        to.head(200, len(CONTENT), ETag='"x"')
        to.wfile.write(CONTENT[:1000])
        to.hang_up()

    server.answers["/a.jsonl"] = in_turn(
        breaks_off,
        lambda to: part(to, 1000, AT_A_ROW),
        lambda to: part(to, AT_A_ROW, len(CONTENT)),
    )
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT


def test_a_file_that_ends_within_a_row_is_named_by_its_last_line(
    server: FileServer, tmp_path: Path
) -> None:
    """A server that holds half a file says so truly: then it is for the reader to notice."""
    server.files["/a.jsonl"] = CONTENT[:IN_A_ROW]
    found = fetch(server.url("/a.jsonl"), tmp_path, LIMITS)
    with pytest.raises(UnreadableRows, match=r"1 of 501 rows.* line 501 .*is no JSON"):
        read_rows(found.path, tmp_path / "cache", name=found.name)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for 127.0.0.1 that downloads trust."""
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    pem = write_certificate(tmp_path / "pem", address)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    return pem


def test_a_redirect_from_https_to_http_is_refused(
    server: FileServer, tmp_path: Path, trusted: Path
) -> None:
    with FileServer(certificate=trusted, files={"/a.jsonl": CONTENT}) as secure:
        secure.answers["/away"] = lambda to: to.answer(302, Location=server.url("/a.jsonl"))
        secure.answers["/on"] = lambda to: to.answer(302, Location=secure.url("/away"))
        for path in ("/away", "/on"):
            with pytest.raises(DatasetError, match="redirects from https to http, which") as caught:
                fetch(secure.url(path), tmp_path, LIMITS)
            assert "stays on https" in caught.value.mend
        assert not server.requests, "nothing was asked of it"
        secure.answers["/within"] = lambda to: to.answer(302, Location="/a.jsonl")
        assert fetch(secure.url("/within"), tmp_path, LIMITS).path.read_bytes() == CONTENT


def test_more_than_was_stated_is_noticed_under_tls_too(tmp_path: Path, trusted: Path) -> None:
    with FileServer(certificate=trusted) as secure:
        secure.answers["/a.jsonl"] = lambda to: says_less(to, AT_A_ROW)
        with pytest.raises(DatasetError, match="sends more than the length that it states"):
            fetch(secure.url("/a.jsonl"), tmp_path, LIMITS)
