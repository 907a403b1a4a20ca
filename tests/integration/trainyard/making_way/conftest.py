"""Two slots on a real Redis: idle, or busy with two jobs while a third waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.celery_app import bridge_celery
from tests.support.redis_server import RedisServer
from tests.support.two_slots import TwoSlots


@pytest.fixture
def yard(redis_server: RedisServer, real_redis: Any) -> Iterator[TwoSlots]:
    with bridge_celery(redis_server.url) as app:
        yield TwoSlots(real_redis, app)


@pytest.fixture
def busy(yard: TwoSlots) -> TwoSlots:
    """``a`` runs on the first slot and ``b``, with more left, on the second; ``c`` waits."""
    for job_id in ("a", "b", "c"):
        yard.submit(job_id)
    assert (yard.take("box-0"), yard.take("box-1")) == ("a", "b")
    yard.step("b", left_s=1000)
    return yard
