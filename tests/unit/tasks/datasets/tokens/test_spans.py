"""Which tokens a span of characters covers, compared with the offsets of every token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tasks.datasets.tokens.spans import token_span

PIECES = st.sampled_from(
    ["a", "ab ", "  ", "\n", "é", "你好", "🙂", "👩‍👩‍👧", "x1", "<eos>", "\u00a0"]
)


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def trained(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.train_from_iterator(
        ["ab ab a x1 你好 é 🙂", "a  b\n\nab"],
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=["<bos>", "<eos>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    return tokenizer


def words() -> Tokenizer:
    """One that drops spaces and normalises characters: not every character has a token."""
    made = Tokenizer(models.WordLevel({"<unk>": 0, "<bos>": 1, "<eos>": 2}, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


TOKENIZERS = {"bytes": trained(byte_level()), "words": words()}


def by_offsets(encoding: Any, begin: int, stop: int) -> list[int]:
    return [
        token
        for token, (start, end) in enumerate(encoding.offsets)
        if begin < stop
        and start < stop
        and end > begin
        and encoding.token_to_chars(token) is not None
    ]


@pytest.mark.parametrize("name", list(TOKENIZERS))
@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(PIECES, max_size=12), data=st.data(), special=st.booleans())
def test_a_span_covers_the_tokens_that_overlap_it(
    name: str, pieces: list[str], data: st.DataObject, special: bool
) -> None:
    text = "".join(pieces)
    begin = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(begin, len(text)))
    encoding = TOKENIZERS[name].encode(text, add_special_tokens=special)
    first, end = token_span(encoding, (begin, stop), len(text))
    assert list(range(first, end)) == by_offsets(encoding, begin, stop)
