"""The bridge's side of Celery for tests: our settings, on a test's Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from celery import Celery
from kombu import pools

from trainyard.settings import settings


@contextmanager
def bridge_celery(redis_url: str) -> Iterator[Celery]:
    """An application as bridge and courier make it; its connections are closed at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", redis_url)
        settings.cache_clear()  # celeryconfig reads it when it is imported first
        app = Celery("test", set_as_current=False)
        app.config_from_object("celeryconfig")
        assert app.conf.task_serializer, "read here, while REDIS_URL stands"
        app.conf.broker_url = redis_url
    try:
        yield app
    finally:
        app.close()
        pools.reset()  # they are shared by all applications of one address
