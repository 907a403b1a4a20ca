"""Rows of the GPU proof: what is judged where, and that the table says what the JSON says."""

from __future__ import annotations

import dataclasses

import pytest
from trl import SFTConfig

from benchmarks.gpu_proof.row import Row, table
from benchmarks.gpu_proof.sizes import TINY, Size, gpu_size
from benchmarks.gpu_proof.steps.plain_recipe import arguments
from benchmarks.measure import Target
from worker.machine.gpu import Gpu

H200 = gpu_size(Gpu("GPU-1", "NVIDIA H200", 150.0))
TWICE = Target("ratio", ">=", 2.0)


@pytest.mark.parametrize(
    ("size", "value", "met"), [(H200, 30.0, True), (H200, 19.0, False), (TINY, 30.0, None)]
)
def test_an_aim_is_judged_on_a_gpu_alone(size: Size, value: float, met: bool | None) -> None:
    row = Row("rate", value, "tokens/s", plain=10.0, aim=TWICE).as_json("recipes", size)
    assert (row["met"], row["aim"], row["machine"]) == (met, "ratio >= 2", size.machine)


def test_an_aim_on_the_value_needs_no_plain_recipe() -> None:
    row = Row("off the GPU", 0.4, "s", aim=Target("value", "<=", 1.0)).as_json("park", H200)
    assert row["met"] is True


def test_without_a_gpu_every_row_says_so() -> None:
    rows = [Row("a", 1.0).as_json("s", TINY), Row("b", state="left out").as_json("s", TINY)]
    assert all("cpu, tiny" in line for line in table(rows).splitlines()[2:])


def test_the_table_has_what_the_json_has() -> None:
    rows = [
        Row("rate", 12345.6, "tokens/s", plain=5000.0, aim=TWICE, note="packed").as_json("r", H200),
        Row("flash_attn", state="left out", note="not installed").as_json("libraries", H200),
        Row("park", state="failed", note="bits differ").as_json("park", H200),
    ]
    rate, left_out, failed = table(rows).splitlines()[2:]
    for said in ("rate", "12,350", "tokens/s", "5,000", "2.469", "ratio >= 2", "yes", "packed"):
        assert said in rate
    assert rows[0]["value"] == 12350.0
    assert "left out" in left_out
    assert left_out.endswith("not installed")
    assert "FAILED" in failed
    assert failed.endswith("bits differ")


def test_every_argument_of_the_plain_recipe_exists() -> None:
    known = {field.name for field in dataclasses.fields(SFTConfig)}
    assert set(arguments(H200)) == set(arguments(TINY)) <= known


@pytest.mark.parametrize("size", [H200, TINY])
def test_rows_are_short_for_the_most_part_and_never_too_long(size: Size) -> None:
    lengths = [len(row) + 1 for row in size.token_rows()]
    assert len(lengths) == size.rows
    assert size.length // 16 < min(lengths)
    assert max(lengths) <= size.length
    assert sum(lengths) / len(lengths) < size.length / 2


def test_a_frozen_parameter_costs_a_third_less() -> None:
    full = H200.flops_per_token(10**9, frozen=False)
    assert full - H200.flops_per_token(10**9, frozen=True) == pytest.approx(2e9)
    assert 6e9 < full < 6e9 + 12 * 22 * 2048 * 1024
    assert (H200.peak_flops, TINY.peak_flops) == (989e12, None)
