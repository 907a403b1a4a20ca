"""Rows that are packed into one sequence do not see one another, or packing is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.errors import ConfigurationError
from tasks.models.packing import check_rows_are_apart, leak


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_give_the_logits_that_they_give_alone(tiny_model: Path, attention: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation=attention)
    one, two = torch.arange(3, 20)[None], torch.arange(40, 49)[None]
    positions = torch.cat([torch.arange(17), torch.arange(9)])[None]
    with torch.no_grad():
        packed = model(
            input_ids=torch.cat([one, two], 1), position_ids=positions, use_cache=False
        ).logits
        alone = torch.cat([model(input_ids=row).logits for row in (one, two)], 1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)
    assert leak(model) < 1e-5
    check_rows_are_apart(model)


def test_a_model_that_looks_at_the_row_before_is_refused(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    forward = model.forward

    def without_positions(*, position_ids: Any, **arguments: Any) -> Any:
        return forward(**arguments)

    model.forward = without_positions
    assert leak(model) > 0.01
    with pytest.raises(ConfigurationError, match="packed rows would see one another"):
        check_rows_are_apart(model)
