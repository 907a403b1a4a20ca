"""The tokenizer of the tiny model, and no progress bars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest


@pytest.fixture(autouse=True)
def no_progress_bars() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> Any:
    """With the simple chat template; who changes it puts it back."""
    from transformers import AutoTokenizer

    from tasks.models.chat_template import SIMPLE_CHAT_TEMPLATE

    loaded = AutoTokenizer.from_pretrained(tiny_model)
    loaded.chat_template = SIMPLE_CHAT_TEMPLATE
    return loaded
