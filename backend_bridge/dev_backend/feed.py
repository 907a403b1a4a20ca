"""Feed of changes: wakes the event streams of the page when a job changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Subscription:
    """One event stream's view: which jobs changed since it last looked."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._woken = asyncio.Event()

    def wake(self, job_id: str | None = None) -> None:
        """Note a change (or, with None, the end); in the event loop's thread only."""
        if job_id is not None:
            self._changed.add(job_id)
        self._woken.set()

    async def wait(self, timeout_s: float) -> set[str]:
        """The jobs that changed; empty after ``timeout_s`` without a change."""
        try:
            await asyncio.wait_for(self._woken.wait(), timeout_s)
        except TimeoutError:
            return set()
        self._woken.clear()
        changed, self._changed = self._changed, set()
        return changed


class Feed:
    """Changes from request threads to subscriptions in the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscriptions: dict[Subscription, str | None] = {}
        self.closed = False

    @contextmanager
    def subscribe(self, job_id: str | None = None) -> Iterator[Subscription]:
        """Hear of one job, or of all."""
        self._loop = asyncio.get_running_loop()
        subscription = Subscription()
        self._subscriptions[subscription] = job_id
        try:
            yield subscription
        finally:
            del self._subscriptions[subscription]

    def changed(self, job_id: str) -> None:
        """A job was written; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, job_id)

    def close(self) -> None:
        """End every stream, so that the server can stop; from any thread or a signal handler."""
        self.closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, None)

    def _wake(self, job_id: str | None) -> None:
        for subscription, wanted in self._subscriptions.items():
            if job_id is None or wanted is None or wanted == job_id:
                subscription.wake(job_id)
