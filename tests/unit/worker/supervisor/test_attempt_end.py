"""What a person reads where an attempt ended badly, and that it survives the way to the worker."""

from __future__ import annotations

import json
import pickle

import pytest

from trainyard.contract.errors import ErrorKind, ErrorReport
from worker.slot_process.client import KeeperLost, LastMessage
from worker.slot_process.protocol import Gone, StartRefused
from worker.supervisor.attempt_end import (
    AttemptCancelled,
    AttemptCompleted,
    AttemptEnd,
    AttemptLetGo,
    AttemptMadeWay,
    AttemptPaused,
    AttemptPutBack,
    Rest,
    ResumeRefused,
    read_end,
)
from worker.supervisor.loss import AttemptFailed, AttemptLost, how_it_died

KILLED = Gone(exit_code=None, signal=9, killed_descendants=0)
SLOT_GONE = Gone(None, 9, 0, slot_gone=True)


@pytest.mark.parametrize(
    ("end", "oom", "words", "kind"),
    [
        (KILLED, False, "killed by SIGKILL", ErrorKind.WORKER_LOST),
        (KILLED, True, "the machine ran out of memory", ErrorKind.OUT_OF_MEMORY),
        (KeeperLost(), True, "of its limit, ran out", ErrorKind.OUT_OF_MEMORY),
        (SLOT_GONE, True, "of its limit, ran out", ErrorKind.OUT_OF_MEMORY),
        (SLOT_GONE, False, "The slot process ended", ErrorKind.WORKER_LOST),
        (Gone(None, 11, 0), True, "killed by SIGSEGV", ErrorKind.WORKER_LOST),
        (Gone(3, None, 0), False, "exit code 3 and no result", ErrorKind.WORKER_LOST),
        (Gone(None, None, 0, "no fork"), False, "not be started: no fork", ErrorKind.WORKER_LOST),
        (StartRefused("busy"), False, "refused the attempt: busy", ErrorKind.WORKER_LOST),
        (KeeperLost(), False, "its keeper were killed", ErrorKind.WORKER_LOST),
        (None, False, "its keeper were killed", ErrorKind.WORKER_LOST),
    ],
)
def test_one_sentence_and_a_kind(
    end: LastMessage | None, oom: bool, words: str, kind: ErrorKind
) -> None:
    lost = how_it_died(end, oom_killed=oom)
    assert words in str(lost)
    assert str(lost).endswith(".")
    assert lost.kind is kind


REST = Rest(checkpoint="checkpoints/7", parked="j:1", parked_on="s", parked_worker="w")
REPORT = ErrorReport(kind=ErrorKind.CONFIGURATION, message="Not that one.", hint="Another.")


@pytest.mark.parametrize(
    "end",
    [
        AttemptCompleted(result={"model_dir": "model", "final_loss": 0.5}),
        AttemptPaused(rest=REST),
        AttemptMadeWay(rest=REST, because="job short slips in"),
        AttemptCancelled(),
        AttemptPutBack(because="its slot was drained"),
        ResumeRefused(report=REPORT),
        AttemptLetGo(),
    ],
)
def test_an_end_passes_through_the_task_s_result(end: AttemptEnd) -> None:
    assert read_end(json.loads(json.dumps(end.model_dump(mode="json")))) == end


def test_the_exceptions_pass_to_the_worker_s_main_process() -> None:
    lost = pickle.loads(pickle.dumps(AttemptLost("It hung.", ErrorKind.HANG, of_slot=True)))
    assert (str(lost), lost.kind, lost.of_slot) == ("It hung.", ErrorKind.HANG, True)
    report = ErrorReport(kind=ErrorKind.DATASET, message="No rows.", hint="Add some.")
    failed = pickle.loads(pickle.dumps(AttemptFailed.from_report(report)))
    assert str(failed) == "No rows."
    assert ErrorReport.model_validate_json(failed.report) == report


def test_a_failure_without_a_report_still_has_a_sentence() -> None:
    assert str(AttemptFailed.from_report(None)) == "The training failed and did not say why."


@pytest.mark.parametrize(
    ("end", "of_slot"),
    [
        (KILLED, False),
        (Gone(3, None, 0), False),
        (SLOT_GONE, True),
        (KeeperLost(), True),
        (None, True),
        (StartRefused("busy"), True),
        (Gone(None, None, 0, "no fork"), True),
    ],
)
def test_what_a_training_runs_on_is_no_fault_of_the_job(
    end: LastMessage | None, of_slot: bool
) -> None:
    assert how_it_died(end, oom_killed=False).of_slot is of_slot
