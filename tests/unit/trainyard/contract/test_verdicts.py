"""Kinds of verdicts: each has its meaning in the documentation."""

from __future__ import annotations

import re

from tests.support.paths import REPOSITORY
from trainyard.contract.verdicts import VerdictKind


def test_every_kind_is_documented() -> None:
    page = (REPOSITORY / "docs" / "results.md").read_text()
    for kind in VerdictKind:
        assert re.search(rf"^\| `{kind}` \| \w.+ \|$", page, re.MULTILINE), kind
