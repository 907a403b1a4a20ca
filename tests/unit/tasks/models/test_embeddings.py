"""Embeddings of a model: positions, and the tokens that it has rows for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from tasks.errors import ModelError
from tasks.models.embeddings import check_vocabulary, positions
from tests.support.architectures import POSITIONS, SIZES, make_architecture
from tests.unit.tasks.models.test_whole import load


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("llama", POSITIONS), ("gpt2", POSITIONS), ("mpt", POSITIONS), ("mamba", None)],
)
def test_positions_by_the_names_that_configurations_use(kind: str, expected: int | None) -> None:
    assert positions(AutoConfig.for_model(kind, **SIZES[kind])) == expected


def test_positions_that_begin_behind_the_padding_token(tmp_path: Path) -> None:
    model = load(make_architecture(tmp_path, "roberta", is_decoder=True, pad_token_id=1))
    limit = positions(model.config)
    assert limit == POSITIONS
    rows = torch.full((1, limit + 1), 5)
    model(rows[:, :limit])
    with pytest.raises((IndexError, RuntimeError)):
        model(rows)


@pytest.mark.parametrize(("rows", "refused"), [(8, False), (7, True)])
def test_the_largest_token_needs_an_embedding(rows: int, refused: bool) -> None:
    class Holes:
        def __len__(self) -> int:
            return 3

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "b": 1, "c": 7}

    embeddings = SimpleNamespace(num_embeddings=rows)
    model: Any = SimpleNamespace(get_input_embeddings=lambda: embeddings)
    if not refused:
        check_vocabulary(model, Holes(), "it")
        return
    with pytest.raises(ModelError, match=r"up to number 7 \(3 in all\).* for 7, from 0 to 6"):
        check_vocabulary(model, Holes(), "it")
