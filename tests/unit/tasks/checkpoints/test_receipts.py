"""Receipts: the same for the same state, another for any difference."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
import torch

from tasks.checkpoints.receipts import compare, optimizer_sha256, rng_sha256
from tasks.errors import ResumeMismatch
from trainyard.contract.events import Receipt


def trained(seed: int = 0) -> torch.optim.Optimizer:
    generator = torch.Generator().manual_seed(seed)
    parameters = [torch.nn.Parameter(torch.rand(3, 4, generator=generator)) for _ in range(12)]
    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.rand(3, 4, generator=generator)
    optimizer.step()
    return optimizer


def test_the_same_state_has_the_same_hash_after_a_round_trip(tmp_path: Any) -> None:
    state = trained().state_dict()
    torch.save(state, tmp_path / "optimizer.pt")
    loaded = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    other = trained(seed=1)
    other.load_state_dict(loaded)
    reordered = {"param_groups": loaded["param_groups"], "state": loaded["state"]}
    hashes = {optimizer_sha256(s) for s in (state, loaded, other.state_dict(), reordered)}
    assert len(hashes) == 1


def test_one_bit_anywhere_changes_the_hash() -> None:
    before = optimizer_sha256(trained().state_dict())
    one = trained()
    moments = one.state[one.param_groups[0]["params"][11]]["exp_avg_sq"]
    moments.view(torch.int32)[2, 3] ^= 1
    other = trained()
    other.param_groups[0]["lr"] = 0.1000000001
    assert (
        len({before, optimizer_sha256(one.state_dict()), optimizer_sha256(other.state_dict())}) == 3
    )


def test_every_kind_of_number_is_hashed() -> None:
    with torch.random.fork_rng(devices=[]):
        python, arrays = random.getstate(), numpy.random.get_state()
        hashes = [rng_sha256(), rng_sha256()]
        for draw in (random.random, numpy.random.random, lambda: torch.rand(1)):
            draw()
            hashes.append(rng_sha256())
        random.setstate(python)
        numpy.random.set_state(arrays)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_half_precision_and_empty_tensors_can_be_hashed() -> None:
    tensors = [torch.ones(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.float16)]
    hashes = {optimizer_sha256([tensor]) for tensor in [*tensors, torch.ones(0), torch.ones(())]}
    assert len(hashes) == 4


RECEIPT = Receipt(
    when="paused",
    step=7,
    epoch=0.5,
    learning_rate=0.1,
    optimizer_sha256="aa",
    rng_sha256="bb",
    data_position=3,
)


def test_a_resume_from_the_same_state_agrees() -> None:
    compare(RECEIPT, RECEIPT.model_copy(update={"when": "resumed", "warm": True}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": 8}, "step (was 7, is 8)"),
        ({"epoch": 0.6}, "epoch (was 0.5"),
        ({"learning_rate": 0.2}, "learning rate"),
        ({"optimizer_sha256": "ab"}, "optimizer state"),
        ({"rng_sha256": "ab"}, "state of the random numbers"),
        ({"data_position": 4}, "data position (was 3, is 4)"),
    ],
)
def test_each_field_that_differs_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ResumeMismatch) as caught:
        compare(RECEIPT, RECEIPT.model_copy(update={"when": "resumed", **change}))
    assert said in str(caught.value)
    assert str(caught.value).count("(was") == 1
