"""Servers whose lengths are wrong, and redirects that leave TLS."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tasks.datasets.readers.problems import UnreadableRows
from tasks.datasets.sources.remote import failures
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
    monkeypatch.setattr(failures, "SECONDS_BETWEEN_TRIES", 0)
    monkeypatch.setattr(failures, "MOST_TRIES", 2)


def test_more_than_was_stated_is_cut_there_and_a_sum_tells(
    server: FileServer, tmp_path: Path
) -> None:
    """HTTP ends a body at the length of its head; who needs more certainty states the sum."""

    def says_less(to: Handler) -> None:
        to.head(200, AT_A_ROW, ETag='"x"')
        to.wfile.write(CONTENT)

    server.answers["/a.jsonl"] = says_less
    assert fetch(server.url("/a.jsonl"), tmp_path, LIMITS).path.read_bytes() == CONTENT[:AT_A_ROW]
    stated = f"/a.jsonl#sha256={hashlib.sha256(CONTENT).hexdigest()}"
    with pytest.raises(DatasetError, match="is damaged: its sha256"):
        fetch(server.url(stated), tmp_path, LIMITS)


def test_less_of_the_rest_than_was_asked_for_is_not_the_end(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may answer a range with a part of it: each is right, and the file is not whole."""
    monkeypatch.setattr(failures, "MOST_TRIES", 3)

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
