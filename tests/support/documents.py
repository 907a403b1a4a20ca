"""The pages that are made from code: ``python -m tests.support.documents`` writes them."""

from __future__ import annotations

from docs.reference.training_settings import as_markdown
from tests.support.paths import REPOSITORY
from trainyard.contract.spellings import other_spellings

PAGE = REPOSITORY / "docs/training-settings.md"


def training_settings() -> str:
    """docs/training-settings.md as the table of settings has it."""
    return as_markdown(other_spellings())


if __name__ == "__main__":
    PAGE.write_text(training_settings())
