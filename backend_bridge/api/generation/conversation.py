"""Conversation of the bridge with whoever asks a model: a generation, from its wait to its end.

Server-sent events, ``data: {json}`` each, as ``trainyard.contract.generation`` has them. It lasts
as long as the client stays: when that goes, the generation ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError

from backend_bridge.wiring import Wiring
from trainyard.contract.generation.messages import (
    AskedOfJob,
    Done,
    InQueue,
    Loading,
    NotGenerated,
    Said,
)
from trainyard.redis_check.troubles import trouble_of
from trainyard.scheduling.generations import Generations

_LOOK_EVERY_S, _LOOK_WAITING_S = 0.05, 0.2
_RENEW_EVERY_S = 3.0
STILL_HERE = ": still here\n\n"
"""A comment of server-sent events."""


class Generation:
    """One generation that was admitted; :meth:`events` runs it."""

    def __init__(self, wiring: Wiring, asked: AskedOfJob) -> None:
        """Raises TooManyWait."""
        self._wiring = wiring
        self._generations = Generations(wiring.redis)
        self._id = self._generations.ask(asked)
        self._heard = 0
        self._taken = False
        self._told: InQueue | None = None
        self._renew_at = 0.0
        wiring.queue.enqueue_generation(self._id, asked.slot)

    async def events(self) -> AsyncIterator[str]:
        """Everything that is said, and a comment now and then while nothing is."""
        async with aclosing(self.said()) as said:
            async for one in said:
                yield STILL_HERE if one is None else f"data: {one.model_dump_json()}\n\n"

    async def said(self) -> AsyncGenerator[Said | None]:
        """Everything that is said until the end, and None now and then while nothing is.

        Who leaves earlier closes it.
        """
        try:
            while True:
                try:
                    said = await run_in_threadpool(self._look)
                except RedisError as error:
                    trouble = trouble_of(error)
                    yield NotGenerated(error=trouble.sentence, hint=trouble.mend)
                    return
                for one in said:
                    yield one
                    if isinstance(one, Done | NotGenerated):
                        return
                if time.monotonic() >= self._renew_at:
                    self._renew_at = time.monotonic() + _RENEW_EVERY_S
                    yield None
                await asyncio.sleep(_LOOK_EVERY_S if self._taken else _LOOK_WAITING_S)
        finally:
            # The client may be gone: nothing here may be cancelled half-way.
            await asyncio.shield(run_in_threadpool(self._let_go))

    def _look(self) -> list[Said]:
        if time.monotonic() >= self._renew_at:
            self._generations.renew(self._id)
        said = self._generations.hear(self._id, self._heard)
        self._heard += len(said)
        self._taken = self._taken or any(isinstance(one, Loading) for one in said)
        if said:
            return said
        position = self._generations.position(self._id)
        if position is not None:
            return self._waits(position)
        if self._generations.is_served(self._id):
            return []
        # It may have said its last words between the two looks.
        lost = NotGenerated(error="Its worker was lost.", hint="Ask again.")
        return [] if self._generations.hear(self._id, self._heard) else [lost]

    def _waits(self, position: int) -> list[Said]:
        """Its place, if that is news."""
        now = InQueue(
            position=position,
            behind=self._wiring.store.occupying(),
            slots=len(self._wiring.slots.served()),
            makes_way=self._generations.who_makes_way(self._id),
        )
        if now == self._told:
            return []
        self._told = now
        return [now]

    def _let_go(self) -> None:
        self._generations.let_go(self._id)
        self._wiring.queue.remove(self._id)
