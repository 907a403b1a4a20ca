"""Costs, and sums of what is known in part."""

from __future__ import annotations

import pytest

from trainyard.contract.usage.used import HOUR_S, KWH_J, NO_PRICES, Prices, Usage

HOUR = Usage(slot_s=HOUR_S, gpu_s=2 * HOUR_S, metered_s=HOUR_S, energy_j=3 * KWH_J)
ON_A_CPU = Usage(slot_s=HOUR_S)


@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        (Prices(per_gpu_hour=1.5), 3.0),
        (Prices(per_kwh=0.25), 0.75),
        (Prices(per_gpu_hour=1.5, per_kwh=0.25), 3.75),
        (Prices(per_gpu_hour=0), 0.0),
        (NO_PRICES, None),
    ],
)
def test_a_cost_is_of_what_has_a_price(prices: Prices, cost: float | None) -> None:
    assert prices.of(HOUR) == cost


def test_without_a_gpu_there_is_no_cost_and_not_0() -> None:
    assert Prices(per_gpu_hour=1.5, per_kwh=0.25).of(ON_A_CPU) is None


def test_a_sum_of_energies_is_of_those_that_are_known() -> None:
    both = Usage.sum([HOUR, ON_A_CPU])
    assert (both.slot_s, both.metered_s, both.energy_j) == (2 * HOUR_S, HOUR_S, 3 * KWH_J)
    assert not both.metered
    assert Usage.sum([ON_A_CPU]).energy_j is None
    assert Usage.sum([]) == Usage()
