"""What a model card says of hours, energy and cost: only what is known when it is written."""

from __future__ import annotations

import pytest

from tasks.progress import used_here
from tasks.progress.used_here import UsedHere
from trainyard.contract.usage.used import Prices, SlotUsage, Usage

HOURS, ENERGY = "GPU hours, until this card was written", "energy of the GPUs until then, Wh"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, float | None]:
    """A clock and a counter that the test moves."""
    at: dict[str, float | None] = {"s": 0.0, "j": 5000.0}
    monkeypatch.setattr(used_here.time, "monotonic", lambda: at["s"])
    monkeypatch.setattr(used_here, "energy_j", lambda devices: at["j"] if devices else None)
    return at


def test_earlier_attempts_and_this_one(gpu: dict[str, float | None]) -> None:
    before = Usage(slot_s=3600, gpu_s=7200, metered_s=3600, energy_j=3600.0)
    prices = Prices(per_gpu_hour=2.0, per_kwh=0.5, currency="EUR")
    here = UsedHere(SlotUsage(before=before, gpus=2, devices="GPU-a,GPU-b", prices=prices))
    gpu |= {"s": 1800.0, "j": 5000.0 + 2 * 3600}
    assert here.figures() == {
        HOURS: 3.0,
        ENERGY: 3.0,
        "cost until then, EUR": pytest.approx(3 * 2.0 + 0.003 * 0.5),
    }


def test_energy_of_a_part_is_not_said_nor_a_cost_that_needs_it(
    gpu: dict[str, float | None],
) -> None:
    before = Usage(slot_s=3600, gpu_s=3600)  # its energy is not known
    for prices, cost in ((Prices(per_kwh=0.5), {}), (Prices(per_gpu_hour=2.0), 3.0)):
        gpu |= {"s": 0.0, "j": 0.0}
        here = UsedHere(SlotUsage(before=before, gpus=1, devices="GPU-a", prices=prices))
        gpu |= {"s": 1800.0, "j": 99.0}
        assert here.figures() == {HOURS: 1.5} | ({"cost until then": cost} if cost else {})


def test_on_a_cpu_the_hours_are_those_of_the_slot(gpu: dict[str, float | None]) -> None:
    here = UsedHere(SlotUsage(prices=Prices(per_gpu_hour=2.0, per_kwh=1.0)))
    gpu["s"] = 360.0
    assert here.figures() == {"hours in a slot, until this card was written": 0.1}
