"""Pieces of known secrets: the fast look agrees with the plain one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainyard.secret_pieces import PIECE_CHARACTERS_MIN, SecretPieces

_VALUES = st.lists(st.text("abAB-1", min_size=8, max_size=16), min_size=1, max_size=3)
_TEXTS = st.text("abAB-1", max_size=60)


@given(values=_VALUES, before=_TEXTS, after=_TEXTS, start=st.integers(0, 8))
def test_a_piece_is_seen_where_it_is_and_only_there(
    values: list[str], before: str, after: str, start: int
) -> None:
    pieces = SecretPieces(values)
    for text in (before, before + values[0][start : start + PIECE_CHARACTERS_MIN] + after):
        is_there = pieces.masked(text, "*") != text
        assert pieces.may_be_in(text) == is_there
        assert is_there == any(piece in text for piece in pieces._pieces)


def test_a_word_that_shares_four_bytes_with_a_secret_is_no_piece() -> None:
    pieces = SecretPieces(["job-token-of-mine"])
    assert not any(pieces.may_be_in(" " * shift + "18432 tokens/s") for shift in range(4))
    assert pieces.may_be_in("it was job-token-of-mi")
