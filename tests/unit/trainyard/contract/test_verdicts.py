"""Kinds of verdicts: each has its meaning, and the documentation has it too."""

from __future__ import annotations

from tests.support.paths import REPOSITORY
from trainyard.contract.verdicts import MEANINGS, VerdictKind


def test_every_kind_is_documented() -> None:
    page = (REPOSITORY / "docs" / "results.md").read_text()
    assert set(MEANINGS) == set(VerdictKind)
    for kind, meaning in MEANINGS.items():
        assert f"| `{kind}` | {meaning} |" in page
