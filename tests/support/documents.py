"""The pages that are made from code: ``python -m tests.support.documents`` writes them."""

from __future__ import annotations

from pathlib import Path

from docs.reference.training_settings import as_markdown
from trainyard.contract.spellings import other_spellings

PAGE = Path(__file__).parents[2] / "docs/training-settings.md"


def training_settings() -> str:
    """docs/training-settings.md as the table of settings has it."""
    return as_markdown(other_spellings())


if __name__ == "__main__":
    PAGE.write_text(training_settings())
