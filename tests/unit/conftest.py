"""A job and its senders on a clock of the test's own, for rooms on both sides of the delivery."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.delivery_scene import Clock, Scene

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Tiny tensors: with a second thread torch takes twice the processor time, most of it waiting."""


@pytest.fixture
def clock() -> Iterator[Clock]:
    from tests.support.delivery_scene import own_clock

    with own_clock() as clock:
        yield clock


@pytest.fixture
def scene(clock: Clock) -> Scene:
    from tests.support.delivery_scene import Scene

    return Scene(clock)
