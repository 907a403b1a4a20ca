"""Secrets in what a program prints, however its writes, its redraws and the longest line cut them.

From the bytes of the pipe to the lines of the log: a known value is not there, nor six characters
of it in a row; of what only looks like a secret nobody can tell a half, so that it is not there
whole.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.log_lines import stamp_all
from trainyard.redaction import CUT_CHARACTERS_MIN, Redactor
from worker.supervisor.output_lines import LINE_BYTES_MAX, LineSplitter

KNOWN = "kn0wn/V4lue-of+the=job"
PRINTED = {
    KNOWN: KNOWN,
    "hf_abcdefghijklmnopqrstuvwxyz012345": "hf_abcdefghijklmnopqrstuvwxyz012345",
    "sk-abcdefghij0123456789ABCDEF": "sk-abcdefghij0123456789ABCDEF",
    "pa55word99": "https://me:pa55word99@host/path",
    "QWxhZGRpbjpvcGVu": "Authorization: Basic QWxhZGRpbjpvcGVu",
    "abcdef0123456789ABCDEF": "Bearer abcdef0123456789ABCDEF",
    "hunter2222": "DB_PASSWORD=hunter2222",
}
"""Each secret, and how a program prints it."""
NO_WIDTH = b"\x1b[0m"
"""Counts as bytes of the line, and as no character of the log's."""


def logged(*writes: bytes) -> str:
    """The log of a program that writes so; every redraw is more than a second after the last."""
    seconds = itertools.count(0.0, 5.0)
    splitter, redactor = LineSplitter(lambda: next(seconds)), Redactor([KNOWN])
    found = [line for data in writes for line in stamp_all(splitter.feed(data), 0, redactor)]
    return "\n".join([*found, *stamp_all(splitter.close(), 0, redactor)])


def assert_hidden(secret: str, log: str) -> None:
    assert secret not in log
    if secret == KNOWN:
        length = CUT_CHARACTERS_MIN
        pieces = [KNOWN[at : at + length] for at in range(len(KNOWN) - length + 1)]
        assert not [piece for piece in pieces if piece in log]


def cut(text: bytes, *places: int) -> list[bytes]:
    bounds = [0, *sorted(places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


@pytest.mark.parametrize("secret", PRINTED)
@given(st.data())
def test_writes_that_cut_a_line(secret: str, data: st.DataObject) -> None:
    text = f"before {PRINTED[secret]} after\n".encode()
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    log = logged(*cut(text, *places))
    assert_hidden(secret, log)
    assert "before " in log
    assert log.endswith(" after")


@pytest.mark.parametrize("secret", PRINTED)
@pytest.mark.parametrize("filling", [b"x", NO_WIDTH], ids=["text", "no width"])
def test_the_place_where_a_long_line_is_cut(secret: str, filling: bytes) -> None:
    printed = PRINTED[secret].encode()
    for shown in range(len(printed) + 1):
        room = LINE_BYTES_MAX - shown - 1
        head = filling * (room // len(filling)) + b"." * (room % len(filling)) + b" "
        assert len(head) + shown == LINE_BYTES_MAX
        for writes in ((head + printed + b" rest\n",), (head + printed[:3], printed[3:], b" r\n")):
            log = logged(*writes, b"next\n")
            assert_hidden(secret, log)
            assert log.endswith("] next")


@pytest.mark.parametrize("secret", PRINTED)
@given(st.data())
def test_a_progress_bar_that_redraws(secret: str, data: st.DataObject) -> None:
    states = [f"{PRINTED[secret]} {percent}%" for percent in (1, 20, 100)]
    text = "".join(data.draw(st.sampled_from(["\r{}", "{}\r"])).format(s) for s in states).encode()
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    log = logged(*cut(text, *places), b"\n")
    assert_hidden(secret, log)
    assert log.endswith(" 100%")


def test_a_redraw_within_a_known_value() -> None:
    for place in range(len(KNOWN) + 1):
        head, rest = cut(KNOWN.encode(), place)
        for writes in ((head + b"\r", rest + b"\r"), (head + b"\r" + rest + b"\r",)):
            assert_hidden(KNOWN, logged(*writes, b"end\n"))
