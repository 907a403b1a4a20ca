"""Every causal architecture of the installed transformers: trained, or refused with the reason."""

from __future__ import annotations

import pytest

from docs.reference.architectures import PAGE, Row, as_markdown, kinds, read_page, row_of

ROWS = read_page()
MADE = [row for row in ROWS.values() if row.is_made]


def test_the_page_has_every_architecture_and_none_fails() -> None:
    assert list(ROWS) == kinds()
    assert len(MADE) >= 110
    ends = {end.partition(":")[0] for row in MADE for end in (row.whole, row.lora)}
    assert ends == {"fused", "plain", "refused"}


def test_the_page_is_made_from_its_rows() -> None:
    """Where it differs: python -m docs.reference.architectures."""
    assert as_markdown(list(ROWS.values())) == PAGE.read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("row", MADE, ids=lambda row: row.kind)
def test_what_becomes_of_an_architecture_is_what_the_page_says(row: Row) -> None:
    assert row_of(row.kind) == row
