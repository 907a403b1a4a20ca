"""Spans of characters as spans of tokens, and the labels they give."""

from __future__ import annotations

from typing import Any

import numpy

from tasks.datasets.tokens.patterns import Span
from tasks.datasets.tokens.render import Rendered

IGNORED_LABEL = -100
_BLANKS = " \n\t\r\u2581\u0120\u010a"
"""As they stand, and as byte-level and sentencepiece tokenizers write them."""


class Labels:
    """Labels of rendered rows, by one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._eos: int | None = tokenizer.eos_token_id
        self._token_of = tokenizer.convert_ids_to_tokens
        self._blank: dict[int, bool] = {}

    def labelled(self, item: Rendered, encoding: Any) -> tuple[Any, Any]:
        """(ids, labels) as int32 arrays of one row."""
        ids = numpy.array(encoding.ids, dtype=numpy.int32)
        labels = numpy.full(len(ids), IGNORED_LABEL, dtype=numpy.int32)
        for span in item.trained:
            first, end = token_span(encoding, span, len(item.text))
            labels[first:end] = ids[first:end]
        if item.ends_with_eos and self._eos is not None:
            if len(ids) and ids[-1] == self._eos:
                labels[-1] = self._eos  # a tokenizer that adds it by itself
            else:
                last = numpy.array([self._eos], dtype=numpy.int32)
                ids, labels = numpy.concatenate([ids, last]), numpy.concatenate([labels, last])
        return ids, labels

    def turn_end(self, labels: Any) -> int:
        """The last token that is trained on, but for blanks; of a cut row the uncut row's."""
        for token in labels[::-1].tolist():
            if token != IGNORED_LABEL and not self._is_blank(token):
                return int(token)
        return IGNORED_LABEL

    def _is_blank(self, token: int) -> bool:
        if token not in self._blank:
            self._blank[token] = not self._token_of(token).strip(_BLANKS)
        return self._blank[token]


def token_span(encoding: Any, span: Span, text_length: int) -> tuple[int, int]:
    """First and end of the tokens that overlap a span of characters.

    Asks for the two ends only: the offsets of every token take longer to make than the tokens.
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
