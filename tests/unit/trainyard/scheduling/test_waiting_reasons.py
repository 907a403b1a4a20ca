"""Reasons for which a job waits though it may be its turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.slots import Slot, SlotState
from trainyard.scheduling.waiting_reasons import waiting_reason
from trainyard.store.job import Job

NEW = Job("one", JobStatus.QUEUED, attempt=1, created_at=0, updated_at=0)
BOUND = replace(NEW, home="h", home_host="box", checkpoint="checkpoints/checkpoint-4")
WELL = Slot("box-0", {"home": "h"})
DRAINED = Slot("box-1", {"home": "h"}, SlotState.DRAINED)
ELSEWHERE = Slot("other-0", {"home": "another"})


@pytest.mark.parametrize(
    ("job", "present", "words"),
    [
        (NEW, [], None),
        (NEW, [WELL, DRAINED], None),
        (NEW, [DRAINED], "waits for `trainyard undrain`: every slot is drained (box-1)"),
        (BOUND, [WELL, DRAINED], None),
        (BOUND, [ELSEWHERE], "waits for host box, which has its checkpoints"),
        (BOUND, [ELSEWHERE, DRAINED], "every slot that has its checkpoints is drained (box-1)"),
        (replace(BOUND, from_start="1"), [ELSEWHERE], None),
        (replace(NEW, status=JobStatus.PAUSED), [DRAINED], None),
        (
            replace(NEW, held="1", awaits=["a"]),
            [DRAINED],
            "waits for job a; `trainyard force",
        ),
        (replace(NEW, held="1", awaits=["a", "b"]), [], "waits for jobs a and b;"),
        (
            replace(NEW, held="1", awaits=list("abcdefg")),
            [],
            "waits for jobs a and b and c and d and e and 2 more;",
        ),
        (replace(NEW, held="1", not_before=1_800_000_000), [], "waits until 2027-01-1"),
        (
            replace(NEW, held="1", awaits=["a"], not_before=1_800_000_000),
            [],
            "waits for job a and until 2027-01-1",
        ),
        (replace(NEW, status=JobStatus.PAUSED, held="1", awaits=["a"]), [], None),
    ],
)
def test_what_it_waits_for(job: Job, present: list[Slot], words: str | None) -> None:
    reason = waiting_reason(job, present)
    assert (reason is None) == (words is None)
    assert (words or "") in (reason or "")
