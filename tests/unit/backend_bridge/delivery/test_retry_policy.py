"""Pauses between tries."""

from __future__ import annotations

import pytest

from backend_bridge.delivery.retry_policy import DeliveryPolicy


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
