"""Whether trained weights are numbers still."""

from __future__ import annotations

import math

import pytest
import torch

from tasks.models.weights import has_finite_weights


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.0])
def test_one_weight_decides(kind: torch.dtype, value: float) -> None:
    model = torch.nn.Linear(5, 3).to(kind)
    model.weight.data[1, 2] = value
    assert has_finite_weights(model) is math.isfinite(value)


def test_what_is_not_trained_is_not_looked_at() -> None:
    model = torch.nn.Linear(5, 3)
    model.weight.data.fill_(math.nan)
    model.weight.requires_grad = False
    assert has_finite_weights(model)
    model.weight = torch.nn.Parameter(torch.empty(0, 3))
    assert has_finite_weights(model)
