"""The wish to slip in: for jobs that come first, in every way in which it is written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.requests import request_body, start_request
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid


@pytest.mark.parametrize(
    ("sent", "slips_in", "priority"),
    [
        ({}, False, 5),
        ({"slip_in": None, "priority": 3}, False, 3),
        ({"slip_in": False, "priority": 3}, False, 3),
        ({"slip_in": True}, True, 0),
        ({"slip_in": True, "priority": 0}, True, 0),
        ({"slip_in": "true", "priority": 0}, True, 0),
    ],
)
def test_what_it_means(sent: dict[str, Any], slips_in: bool, priority: int) -> None:
    request = parse_request({**request_body(), **sent})
    assert (request.slip_in, request.priority, request.ignored) == (slips_in, priority, [])


def test_another_priority_is_refused_with_what_is_right() -> None:
    with pytest.raises(RequestInvalid) as refused:
        start_request(slip_in=True, priority=5)
    (problem,) = refused.value.problems
    assert problem.path == "slip_in"
    assert problem.message == ("is for jobs of priority 0: send priority 0, or leave slip_in out")


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(RequestInvalid) as refused:
        start_request(slip_in="soon", priority=0)
    assert [problem.path for problem in refused.value.problems] == ["slip_in"]
