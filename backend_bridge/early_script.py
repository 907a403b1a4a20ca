"""Calls of one Lua script, each sent to Redis now and answered later.

Between the two the caller does something else. What was sent is the kernel's: the death of this
process does not take it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.commands.core import Script


class EarlyScript:
    """A connection of its own for ``script``, from the first :meth:`send` to :meth:`close`.

    One call at a time. Nothing is tried again here: after a redis.RedisError, NoScriptError too, a
    call was made or not, and the next one may use another connection.
    """

    def __init__(self, script: Script) -> None:
        client: Any = script.registered_client  # redis-py's type covers a cluster, without a pool
        self._pool = client.connection_pool
        self._sha = script.sha
        self._connection: Any = None

    def send(self, args: Sequence[Any]) -> None:
        """Send a call; :meth:`answer` must follow. Raises redis.RedisError."""
        if self._connection is None:
            self._connection = self._pool.get_connection()
        try:
            self._connection.send_command("EVALSHA", self._sha, 0, *args)
        except BaseException:
            self._drop()
            raise

    def answer(self) -> Any:
        """Wait for the answer to what was sent. Raises redis.RedisError."""
        try:
            return self._connection.read_response()
        except BaseException:
            self._drop()
            raise

    def close(self, *, answered: bool) -> None:
        """Give the connection back; one that still owes an answer is closed."""
        if self._connection is not None:
            if answered:
                self._pool.release(self._connection)
                self._connection = None
            else:
                self._drop()

    def _drop(self) -> None:
        self._connection.disconnect()
        self._pool.release(self._connection)
        self._connection = None
