"""One set of services for all tests that need nothing special of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mute_model import MuteModel, mute_model
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


@pytest.fixture
def mute(stack: Stack) -> Iterator[MuteModel]:
    """A model whose loading, and so its answer, is not over before a test has done its part."""
    with mute_model(stack) as mute:
        yield mute
