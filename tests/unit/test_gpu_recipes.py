"""The recipes that are compared on a GPU: valid for the installed versions; run where one is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from trl import SFTConfig

from benchmarks.gpu import _COMMON, LENGTH, RECIPES, flops_per_token, rows, run_recipe


def test_every_argument_of_a_recipe_exists() -> None:
    known = {field.name for field in dataclasses.fields(SFTConfig)}
    for recipe in RECIPES.values():
        assert {*_COMMON, *recipe} <= known


def test_rows_are_short_for_the_most_part_and_never_too_long() -> None:
    lengths = [len(row["input_ids"]) for row in rows(200)]
    assert max(lengths) <= LENGTH
    assert sum(lengths) / len(lengths) < LENGTH / 2


def test_a_billion_parameters_cost_six_billion_operations_a_token_and_attention() -> None:
    assert flops_per_token(10**9) == 6e9 + 12 * 22 * 2048 * 1024


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.timeout(600)
def test_packing_in_bf16_is_twice_the_plain_recipe() -> None:
    plain, packed = run_recipe("plain"), run_recipe("bf16, packed")
    assert packed["tokens_per_second"] >= 2 * plain["tokens_per_second"]
    assert packed["first_loss"] == pytest.approx(plain["first_loss"], rel=0.02)
