"""Jobs that work without an end: templates that loop, expressions that backtrack, endless rows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.requests import request_body
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid
from trainyard.settings import read_settings
from worker.supervisor.attempt_end import Conclusion, Course
from worker.supervisor.loss import AttemptFailed
from worker.supervisor.time_limits import TimeLimits


def limits(asked: float | None = None, ran_s: float = 0.0, **settings: Any) -> TimeLimits:
    training = {} if asked is None else {"max_hours": asked}
    found = TimeLimits.of(read_settings(**settings), {"config": {"training": training}}, ran_s)
    return TimeLimits(found.start_s, found.job_s, found.ran_s, started=0.0)


@pytest.mark.parametrize(
    ("found", "now", "has_begun", "said"),
    [
        (limits(), 1e9, False, ""),
        (limits(start_timeout=60), 59, False, ""),
        (limits(start_timeout=60), 61, False, "no step within 60 s (START_TIMEOUT)"),
        (limits(start_timeout=60), 61, True, ""),
        (limits(max_job_hours=2), 7199, True, ""),
        (limits(max_job_hours=2), 7201, True, "has taken its 2 hours"),
        (limits(max_job_hours=2, ran_s=7000), 201, False, "has taken its 2 hours"),
        (limits(0.5, max_job_hours=2), 1801, True, "has taken its 0.5 hours"),
        (limits(5, max_job_hours=2), 7201, True, "has taken its 2 hours"),
        (limits(1), 3601, True, "has taken its 1 hours"),
    ],
)
def test_the_shorter_limit_ends_a_job(
    found: TimeLimits, now: float, has_begun: bool, said: str
) -> None:
    sentence = found.passed(now, has_begun=has_begun)
    assert said in sentence
    assert bool(said) is bool(sentence)


def test_it_fails_at_once_and_says_why() -> None:
    unused: Any = None
    course = Course(timed_out="The job has taken its 2 hours.")
    job: Any = type("J", (), {"job_id": "a", "attempt": 1, "cancel": ""})
    store: Any = type("S", (), {"get": staticmethod(lambda _: job)})
    with pytest.raises(AttemptFailed) as caught:
        Conclusion(store, unused, "w", job, course).draw(fenced=False)
    report = ErrorReport.model_validate_json(caught.value.report)
    assert (report.kind, report.message) == (ErrorKind.TIME_LIMIT, course.timed_out)
    assert "MAX_JOB_HOURS" in report.hint


@pytest.mark.parametrize("hours", [0, -1, "x", True, 1e9])
def test_a_request_asks_for_hours(hours: Any) -> None:
    body = request_body(training={"max_hours": 1.5})
    assert parse_request(body).config.training.max_hours == 1.5
    with pytest.raises(RequestInvalid, match="max_hours"):
        parse_request(request_body(training={"max_hours": hours}))
