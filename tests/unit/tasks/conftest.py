"""The model of a few thousand parameters that most tests of trainings read."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once for the whole run: whoever writes into it takes a copy."""
    from tests.support.models import make_tiny_model  # torch

    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", hidden_size=16)
