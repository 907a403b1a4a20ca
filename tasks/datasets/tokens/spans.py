"""Spans of characters as spans of tokens, and the labels they give."""

from __future__ import annotations

from typing import Any

import numpy

from tasks.datasets.tokens.render import Rendered
from tasks.datasets.tokens.turns import Span

IGNORED_LABEL = -100
_BLANKS = " \n\t\r\u2581\u0120\u010a"
"""As they stand, and as byte-level and sentencepiece tokenizers write them."""


def labelled(item: Rendered, encoding: Any, eos: int | None) -> tuple[Any, Any]:
    """(ids, labels) as int32 arrays of one row."""
    ids = numpy.array(encoding.ids, dtype=numpy.int32)
    labels = numpy.full_like(ids, IGNORED_LABEL)
    for span in item.trained:
        first, end = token_span(encoding, span, len(item.text))
        labels[first:end] = ids[first:end]
    if item.ends_with_eos and eos is not None:
        if len(ids) and ids[-1] == eos:
            labels[-1] = eos  # a tokenizer that adds it by itself
        else:
            last = numpy.array([eos], dtype=numpy.int32)
            ids, labels = numpy.concatenate([ids, last]), numpy.concatenate([labels, last])
    return ids, labels


def turn_end(labels: Any, tokenizer: Any) -> int:
    """The last token that is trained on, but for blanks; that of a cut row is the uncut row's."""
    for token in labels[labels != IGNORED_LABEL][::-1]:
        if tokenizer.convert_ids_to_tokens(int(token)).strip(_BLANKS):
            return int(token)
    return IGNORED_LABEL


def token_span(encoding: Any, span: Span, text_length: int) -> tuple[int, int]:
    """First and end of the tokens that overlap a span of characters.

    Asks for the two ends alone: the offsets of every token take longer to make than the tokens.
    """
    begin, stop = span
    first = _token_at(encoding, begin, stop)
    if first is None:
        return 0, 0
    end = _token_at(encoding, stop, text_length)
    if end is None:
        end = len(encoding)
        while encoding.token_to_chars(end - 1) is None:
            end -= 1  # special tokens that the tokenizer adds
        return first, end
    # A token, or the bytes of one character, may reach over the span's end.
    while end < len(encoding) and _starts_before(encoding, end, stop):
        end += 1
    return first, end


def _starts_before(encoding: Any, token: int, place: int) -> bool:
    characters = encoding.token_to_chars(token)
    return characters is not None and characters[0] < place


def _token_at(encoding: Any, begin: int, stop: int) -> int | None:
    """The first token that holds a character of [begin, stop); some hold none, as spaces may."""
    for place in range(begin, stop):
        token: int | None = encoding.char_to_token(place)
        if token is not None:
            return token
    return None
