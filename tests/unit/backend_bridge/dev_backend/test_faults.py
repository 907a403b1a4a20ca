"""The development backend comes back from a fault, whatever its clients do meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

from backend_bridge.dev_backend.faults import Connections


class Listener:
    listens = True

    def stop_listening(self) -> None:
        self.listens = False

    async def listen_again(self) -> None:
        self.listens = True


def test_clients_that_leave_by_themselves_do_not_keep_it_down() -> None:
    connections, listener = Connections(), Listener()
    connections.listener = listener

    def all_leave() -> None:
        for client in list(connections._open):
            connections._open.pop(client)[1].set()

    async def down() -> None:
        for port in (1, 2):
            transport: Any = Mock()
            transport.abort = all_leave
            connections._open[("127.0.0.1", port)] = (transport, asyncio.Event())
        await connections.all_down(0.01)

    asyncio.run(down())
    assert listener.listens
