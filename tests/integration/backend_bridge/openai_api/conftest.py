"""Fixtures of OpenAI's API on a bridge that has a home, and no backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.openai_yard import Yard
from tests.support.ports import free_port


@pytest.fixture
def make_yard(make_bridge: Any, tmp_path: Path) -> Any:
    def make(**environment: str) -> Yard:
        nobody = f"http://127.0.0.1:{free_port()}"
        settings = {"TRAINYARD_HOME": str(tmp_path), "BACKEND_URL": nobody, **environment}
        return Yard(make_bridge(**settings), tmp_path)

    return make


@pytest.fixture
def yard(make_yard: Any) -> Yard:
    found: Yard = make_yard()
    return found
