"""Rendezvous of torchrun's agent with itself, on one host."""

from __future__ import annotations

from torch.distributed import HashStore  # type: ignore[attr-defined]  # re-exported unsaid
from torch.distributed.elastic.rendezvous.api import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousStoreInfo,
)


class OneHost(RendezvousHandler):
    """Rendezvous of one agent with itself: no thread, so that ranks can be forked."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port

    def get_backend(self) -> str:
        return "one-host"

    @property
    def use_agent_store(self) -> bool:
        return False

    def next_rendezvous(self) -> RendezvousInfo:
        return RendezvousInfo(HashStore(), 0, 1, RendezvousStoreInfo(self._address, self._port))

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
