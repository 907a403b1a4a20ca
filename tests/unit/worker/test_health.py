"""Check of a container's health: its own workers, not those of another under the same names."""

from __future__ import annotations

from contextlib import nullcontext
from socket import gethostname
from typing import Any

import pytest

from trainyard.scheduling.slot_leases import Holder, SlotLeases
from trainyard.scheduling.slots import SlotRegistry, SlotState
from worker import health


@pytest.mark.parametrize(
    ("host", "found"),
    [(gethostname(), []), ("14067cddd01f", ["gpu1-0 has its worker on 14067cddd01f, not here"])],
)
def test_a_slot_that_another_container_has_is_not_its_own(
    redis: Any, monkeypatch: pytest.MonkeyPatch, host: str, found: list[str]
) -> None:
    registry = SlotRegistry(redis)
    registry.beat("gpu1-0", {})
    registry.stamp("gpu1-0", SlotState.CONSUMING)
    SlotLeases(redis).take("gpu1-0", Holder("w", host=host, pid=8, birth="b", home="h"))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(health, "connect", lambda *_, **__: nullcontext(redis))
    monkeypatch.setattr(health, "slot_gpus", lambda _: {"gpu1-0": []})
    assert health.troubles() == found
