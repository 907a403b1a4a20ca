"""The known bugs do not rot: each patch applies, and the test that it names is there."""

from __future__ import annotations

import re

import pytest

from tests.known_bugs.run import KnownBug, applies, known_bugs
from tests.support.paths import REPOSITORY

BUGS_MIN = 20


def test_there_are_many() -> None:
    bugs = known_bugs()
    assert len(bugs) >= BUGS_MIN
    assert len({bug.story for bug in bugs}) == len(bugs)


@pytest.mark.parametrize("bug", known_bugs(), ids=lambda bug: bug.name)
def test_a_known_bug_can_be_put_back(bug: KnownBug) -> None:
    assert applies(bug, REPOSITORY, "--check"), f"make {bug.path} anew: the code has changed"
    path, _, name = bug.test.partition("::")
    assert re.search(rf"^def {name}\(", (REPOSITORY / path).read_text(), re.MULTILINE)
