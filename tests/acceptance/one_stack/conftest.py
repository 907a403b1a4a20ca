"""One set of services for all tests that need nothing special of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="session")
def services() -> Iterator[Stack]:
    """Started once: that costs more than twenty short jobs."""
    with Stack(CANCEL_GRACE_SECONDS="5", MAX_RESTARTS="2", SLIP_INS_PER_HOUR="1000") as running:
        yield running


@pytest.fixture(scope="module")
def stack(services: Stack) -> Iterator[Stack]:
    """The shared services, at rest before each file; names of jobs are theirs, not a file's."""
    yield services
    services.come_to_rest()
