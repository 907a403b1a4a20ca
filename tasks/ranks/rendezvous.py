"""Rendezvous of torchrun's agent with itself, on one host."""

from __future__ import annotations

from torch.distributed import HashStore  # type: ignore[attr-defined]  # re-exported unsaid
from torch.distributed.elastic.rendezvous.api import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousStoreInfo,
)

_NO_PORT = 0
"""The ranks meet elsewhere."""


class OneHost(RendezvousHandler):
    """Rendezvous of one agent with itself: no thread, so that ranks can be forked."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get_backend(self) -> str:
        return "one-host"

    @property
    def use_agent_store(self) -> bool:
        return False

    def next_rendezvous(self) -> RendezvousInfo:
        return RendezvousInfo(HashStore(), 0, 1, RendezvousStoreInfo(self._address, _NO_PORT))

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        """Nobody else could come."""

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return "attempt"

    def shutdown(self) -> bool:
        return True
