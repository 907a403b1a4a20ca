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


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (
            {"slip_in": True, "priority": 5},
            "is for jobs of priority 0: send priority 0, or leave slip_in out",
        ),
        ({"slip_in": "soon", "priority": 0}, "should be true or false"),
    ],
)
def test_what_is_wrong_is_said_of_its_field(sent: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        start_request(**sent)
    (problem,) = refused.value.problems
    assert problem.path == "slip_in"
    assert said in problem.message
