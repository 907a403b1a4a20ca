"""A probe whose slot process dies before it takes the request: it ends, and names the cause."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from worker.machine.unix_socket import listen
from worker.proof import probe as probe_module
from worker.proof.probe import Probe, ProbeEnd

NAME = f"trainyard-test-probe-{os.getpid()}"


@pytest.fixture
def probe() -> Iterator[Probe]:
    """Its request waits at the socket, which the worker holds: nobody has died for it to see."""
    slot: Any = SimpleNamespace(socket_name=NAME, gpu_expected="")
    with listen(NAME):
        probe = Probe(slot, 1, "home", preload=True)
        yield probe
        probe.close()


@pytest.mark.parametrize(
    ("kills", "said"),
    [
        (0, "its trial of a training failed: The slot process ended, and the training with it."),
        (
            1,
            "its trial of a training failed: The kernel killed the slot's processes because the "
            "memory of the machine, or of its limit, ran out.",
        ),
    ],
)
def test_it_ends_with_the_slot_process(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, kills: int, said: str
) -> None:
    assert probe.look() is None
    before = probe._oom_kills
    monkeypatch.setattr(probe_module, "oom_kills", lambda: before + kills)
    probe.slot_process_died()
    assert probe.look() == ProbeEnd(said)
