"""Tokens at which a model stops: read, and added to the result's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.models.end_tokens import end_tokens, with_end_tokens


@pytest.mark.parametrize(("of_config", "expected"), [(1, {1, 2}), ([1, 3], {1, 2, 3}), (None, {2})])
def test_a_model_stops_at_what_either_of_its_files_names(
    tmp_path: Path, of_config: object, expected: set[int]
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2]}))
    assert end_tokens(tmp_path, SimpleNamespace(eos_token_id=of_config)) == expected


@pytest.mark.parametrize(("known", "expected"), [(1, [1, 7]), ([1, 7], [1, 7]), (None, 7), (7, 7)])
def test_a_turn_s_end_is_added_once(known: object, expected: object) -> None:
    assert with_end_tokens(known, [7, 7]) == expected
