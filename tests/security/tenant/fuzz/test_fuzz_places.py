"""Paths and URLs of data sets, odd by chance: none leads out, and each end is a sentence."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any

import pytest

from tasks.datasets.sources import locate
from tasks.datasets.sources.remote import failures
from tasks.datasets.sources.remote.fetch import fetch
from tasks.datasets.sources.remote.http import TransferLimits
from tasks.datasets.sources.remote.special_addresses import is_public
from tasks.errors import DatasetError

LONG = (pytest.mark.long, pytest.mark.timeout(3600))
SEED = 19
SEGMENTS = (
    *("..", ".", "", "...", "~", "~root", "set", "a.jsonl", "inside", "out", "out.jsonl", "loop"),
    *("%2e%2e", "..%2f", "a" * 300, "\x00", "\n", "\ud800", "ü", "\u2025", "C:", "\\..\\", "*"),
    *("etc", "passwd", "proc", "self", "environ", "root", "dev", "stdin", "zero", "$HOME", " .. "),
)
NEAR = ("..", ".", "", "set", "a.jsonl", "inside", "out", "here", "root")
HOSTS = (
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "127.0.0.1.", "::1"),
    *("[::1]", "[::ffff:127.0.0.1]", "[::]", "[fe80::1%25lo]", "[64:ff9b::7f00:1]", "localhost"),
    *("169.254.169.254", "10.0.0.1", "192.0.0.192", "metadata.google.internal", "a.example"),
    *(
        "8.8.8.8",
        "b.example",
        "ⓛocalhost",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "[",
        "]",
        "",
        "xn--a",
        "a" * 300,
    ),
    *("127.0.0.1@8.8.8.8", "8.8.8.8@127.0.0.1", "8.8.8.8#@127.0.0.1", "8.8.8.8\\@127.0.0.1", "a b"),
)
SCHEMES = ("http", "https", "HTTP", "hTTps", "hf", "ftp", "file", "gopher", "dict", "data", "", "x")
PORTS = ("", ":80", ":0", ":6379", ":99999", ":x", ":-1", ":", ":８０")
ANSWERS = ("8.8.8.8", "127.0.0.1", "10.1.2.3", "169.254.169.254", "1.1.1.1", "::1", "fc00::1")


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """``root`` with files in it, and links that lead out of it and round in a circle."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "set" / "inside", outside):
        folder.mkdir(parents=True)
        (folder / "a.jsonl").write_text('{"text": "a"}\n')
    (root / "out").symlink_to(outside)
    (root / "out.jsonl").symlink_to(outside / "a.jsonl")
    (root / "loop").symlink_to(root / "loop")
    (root / "set" / "here").symlink_to(root / "set" / "inside")
    return root


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=LONG)])
def test_no_path_leads_out(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def no_network(reference: str, *_: Any) -> Any:
        raise DatasetError(f"{reference!r} is not fetched here.")

    monkeypatch.setattr(locate, "_fetched", no_network)
    chance, read = random.Random(SEED), 0
    for _ in range(count):
        parts = chance.choices(chance.choice((SEGMENTS, NEAR)), k=chance.randint(1, 6))
        start = chance.choice(("", "", "/", "//", "./", str(roots), f"{roots}/", f"{roots}/set/"))
        path = start + "/".join(parts)
        try:
            found = locate.locate_dataset(path, None, [str(roots)], tmp_path / "cache")
        except DatasetError as error:
            assert error.sentence, path
            continue
        read += 1
        files = [found.path] if found.path.is_file() else list(found.path.rglob("*"))
        outside = (tmp_path / "outside").resolve()
        assert not [one for one in files if one.resolve().is_relative_to(outside)], path
        found.held.close() if found.held else None
    assert read > count / 100


class Net:
    """Names and connections of this process: what was reached for, and no network."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.reached = chance, list[str]()
        self._numeric = socket.getaddrinfo

    def look_up(self, host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return self._numeric(host, port, *arguments, **options, flags=socket.AI_NUMERICHOST)
        except (socket.gaierror, UnicodeError):
            if self.chance.random() < 0.3:
                raise
            address = self.chance.choice(ANSWERS)
            return self._numeric(address, port, type=socket.SOCK_STREAM)

    def connect(self, address: Any) -> None:
        self.reached.append(address[0])
        raise ConnectionRefusedError(111, "refused")


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=LONG)])
def test_no_url_leads_to_a_private_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    chance = random.Random(SEED)
    net = Net(chance)
    monkeypatch.setattr(socket, "getaddrinfo", net.look_up)
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: net.connect(address))
    monkeypatch.setattr(failures, "MOST_TRIES", 1)
    for number in range(count):
        user = chance.choice(("", "", "", "me:pass@", "127.0.0.1:80@", "@", "a@b@"))
        path = chance.choice(("/a.jsonl", "", "/../../x", "/%00", "?x=1", "#sha256=0", "/\ud800"))
        url = f"{chance.choice(SCHEMES)}://{user}{chance.choice(HOSTS)}{chance.choice(PORTS)}{path}"
        with pytest.raises(DatasetError) as caught:
            fetch(url, tmp_path / "cache", TransferLimits(connect_timeout_s=1))
        assert caught.value.sentence, (number, url)
        assert "pass" not in caught.value.sentence.replace("passw", ""), url
    assert net.reached, "some are public"
    assert not [address for address in net.reached if not is_public(address)]
