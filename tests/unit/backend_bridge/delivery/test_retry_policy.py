"""Pauses between tries."""

from __future__ import annotations

import pytest

from backend_bridge.delivery.retry_policy import DeliveryPolicy
from trainyard.store.delivery_state import DELAY_MAX_S


def test_the_backoff_doubles_up_to_its_cap() -> None:
    policy = DeliveryPolicy(backoff_base_s=0.5, backoff_cap_s=30, random=lambda: 1.0)
    pauses = [policy.backoff_s(failures, None) for failures in (1, 2, 3, 7, 8, 10_000)]
    assert pauses == [0.5, 1, 2, 30, 30, 30]


def test_the_jitter_is_full() -> None:
    assert DeliveryPolicy(random=lambda: 0.0).backoff_s(5, None) == 0
    pauses = {DeliveryPolicy().backoff_s(5, None) for _ in range(50)}
    assert len(pauses) > 40
    assert max(pauses) < 8


@pytest.mark.parametrize(("asked_s", "pause_s"), [(0.0, 0.25), (7.0, 7.25), (9e9, 600.25)])
def test_retry_after_is_the_least(asked_s: float, pause_s: float) -> None:
    assert DeliveryPolicy(random=lambda: 0.5).backoff_s(1, asked_s) == pause_s


def test_no_delay_is_longer_than_what_counts_as_a_clock_that_was_set_back() -> None:
    policy = DeliveryPolicy(random=lambda: 1.0)
    longest_s = max(
        policy.backoff_s(10_000, 9e9),
        policy.unheard_s(10_000),
        policy.missing_route_s(),
        *policy.access_delays_s,
    )
    assert longest_s < DELAY_MAX_S
