"""Pause, parking and hold, as the keeper and the supervisor see them, on real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.checkpoints.folder import seal
from tasks.checkpoints.receipts import RECEIPT_NAME
from tests.support.training import Parking, Preloaded, Run, run_training, write_jsonl
from trainyard.contract.checkpoint_manifest import Manifest, read_manifest, verify
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import Checkpoint, Held, Metric, Phase, Progress, Receipt

Command = Callable[[str], None]
ROWS = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}"} for n in range(40)]


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path, models: Path, preloaded: Preloaded) -> Start:
    """Runs the job ``job`` with the training settings given; see ``run_training``."""
    write_jsonl(tmp_path / "datasets" / "sums.jsonl", ROWS)

    def run(training: Mapping[str, Any] | None = None, **more: Any) -> Run:
        data = more.pop("data", {})
        settings = {"max_steps": 6, "batch_size": 4, "logging_steps": 1, "save_steps": 100}
        request = {
            "execution_id": more.pop("job_id", "job"),
            "dataset_path": "sums.jsonl",
            "config": {
                "model": {"name": "tiny"},
                "training": {**settings, **(training or {})},
                "data": data,
            },
        }
        return run_training(tmp_path, request, models=models, preloaded=preloaded, **more)

    return run


def test_a_parked_training_goes_on_under_the_next_attempt(start: Start) -> None:
    with Parking() as parking:
        first = start(parking=parking, pause_at=[3])
        assert first.outcome.result == {
            "checkpoint": "checkpoints/checkpoint-3",
            "step": 3,
            "parked": True,
        }
        assert verify(first.job_dir / "checkpoints" / "checkpoint-3").attempt == 1
        time.sleep(0.3)
        second = start(parking=parking, attempt=2, resume_from="checkpoints/checkpoint-3")
    assert (second.outcome.outcome, second.exit_code) == ("completed", 0), second.log
    assert [metric.step for metric in second.of(Metric)] == [4, 5, 6]
    assert [phase.name for phase in second.of(Phase)] == [
        "unpark", "train", "save_model", "verify"
    ]  # fmt: skip
    assert second.of(Phase)[1].seconds == second.outcome.result["train_runtime"]
    assert "goes on warm from step 3" in second.log
    assert "step 3/6" in first.log
    assert "step 3/6" not in second.log
    assert read_manifest(second.job_dir / "checkpoints" / "checkpoint-6").attempt == 2
    progress = second.of(Progress)
    assert (progress[0].step, progress[-1].step) == (3, 6)


def test_a_woken_training_that_runs_out_of_memory_writes_under_the_attempt_that_goes_on(
    start: Start, preloaded: Preloaded
) -> None:
    preloaded.rows_that_fit = (4, 2)
    with Parking() as parking:
        start(parking=parking, pause_at=[3])
        second = start(parking=parking, attempt=2)
    preloaded.reset()
    assert second.outcome.outcome == "completed", second.log
    assert "batch_size 4 → 2" in second.log
    assert "Resuming from the checkpoint of step 3" in second.log
    assert read_manifest(second.job_dir / "checkpoints" / "checkpoint-6").attempt == 2


def test_a_parked_training_that_is_given_up_ends_and_leaves_its_checkpoint(start: Start) -> None:
    with Parking() as parking:
        first = start(parking=parking, pause_at=[3])
        parking.ours.close()
        assert parking.process.wait() == 0
    second = start(attempt=2)
    assert second.outcome.outcome == "completed", second.log
    assert "Resuming from the checkpoint of step 3" in second.log
    assert [metric.step for metric in second.of(Metric)] == [4, 5, 6]
    assert first.of(Receipt)[-1].step == 3


@pytest.mark.parametrize(
    "asked", [{"resume_from": "checkpoints/checkpoint-2"}, {"from_start": True}]
)
def test_a_parked_training_goes_on_from_nothing_else(start: Start, asked: Any) -> None:
    with Parking() as parking:
        start(parking=parking, pause_at=[3])
        second = start(parking=parking, attempt=2, **asked)
    assert second.exit_code == 1
    assert second.outcome.error is not None
    assert second.outcome.error.kind is ErrorKind.CONFIGURATION
    assert "stands at checkpoints/checkpoint-3" in second.outcome.error.message


def test_a_resume_that_differs_from_the_pause_fails_loudly(start: Start) -> None:
    first = start(pause_at=[3])
    folder = first.job_dir / "checkpoints" / "checkpoint-3"
    receipt = Receipt.model_validate_json((folder / RECEIPT_NAME).read_bytes())
    forged = receipt.model_copy(update={"rng_sha256": "0" * 64, "data_position": 9})
    (folder / RECEIPT_NAME).write_text(forged.model_dump_json())
    manifest = read_manifest(folder)
    seal(folder, Manifest(**manifest.model_dump(exclude={"files"})))
    second = start(attempt=2)
    assert second.exit_code == 1
    error = second.outcome.error
    assert error is not None
    assert error.kind is ErrorKind.INTERNAL
    assert "data position (was 9, is 3)" in error.message
    assert "state of the random numbers" in error.message
    assert "optimizer state" not in error.message
    assert not second.of(Metric)


@pytest.mark.parametrize("phase", ["imports", "data", "trainer"])
def test_a_pause_before_the_first_step_needs_no_checkpoint(start: Start, phase: str) -> None:
    def pause(event: Any, command: Command) -> None:
        if isinstance(event, Phase) and event.name == phase:
            command("pause")

    # The eval before the first step is long enough for the command to arrive.
    settings = {"eval_strategy": "steps", "eval_batch_size": 1, "num_epochs": 100, "max_steps": 900}
    first = start(settings, data={"eval_split": 0.5}, on_event=pause)
    assert (first.outcome.outcome, first.exit_code) == ("paused", 0), first.log
    if phase != "trainer":
        assert first.outcome.result == {"checkpoint": None, "step": 0, "parked": False}
        assert not first.of(Checkpoint)
        second = start(attempt=2, data={"eval_split": 0.5})
        assert second.outcome.outcome == "completed", second.log
        assert second.of(Metric)[0].step == 1


def test_a_pause_before_a_resumed_attempts_first_step_names_its_checkpoint(start: Start) -> None:
    def pause(event: Any, command: Command) -> None:
        if isinstance(event, Phase) and event.name == "imports":
            command("pause")

    start(pause_at=[2])
    again = start(attempt=2, on_event=pause)
    assert again.outcome.result == {
        "checkpoint": "checkpoints/checkpoint-2",
        "step": 2,
        "parked": False,
    }


def test_a_pause_at_the_last_step_completes_the_job(start: Start) -> None:
    run = start(pause_at=[6])
    assert (run.outcome.outcome, run.exit_code) == ("completed", 0), run.log


class Holder:
    """Asks for a hold at the first metric; at Held looks at the job folder, then ``after``."""

    def __init__(self, after: str) -> None:
        self.after = after
        self.held: list[Held] = []
        self.before_and_after: list[Any] = []
        self.folder: Path | None = None

    def __call__(self, event: Any, command: Command) -> None:
        if isinstance(event, Metric) and not self.held:
            command("hold")
        if isinstance(event, Held):
            self.held.append(event)
            for _ in range(2):
                self.before_and_after.append(self.look())
                time.sleep(0.3)
            command(self.after)

    def look(self) -> Any:
        assert self.folder is not None
        return sorted(
            (str(path), path.stat().st_mtime_ns, path.stat().st_size)
            for path in self.folder.rglob("*")
        )


def test_a_held_training_writes_nothing_and_goes_on(start: Start, tmp_path: Path) -> None:
    whole = start(job_id="whole", training={"max_steps": 40})
    holder = Holder("continue")
    holder.folder = tmp_path / "jobs" / "job"
    run = start({"max_steps": 40}, on_event=holder)
    assert run.outcome.outcome == "completed", run.log
    [held] = holder.held
    assert holder.before_and_after[0] == holder.before_and_after[1]
    at = run.events.index(held)
    assert isinstance(run.events[at + 1], Metric | Progress)
    steps = [event.step for event in run.events[:at] if isinstance(event, Metric)]
    assert held.step - 1 <= max(steps) <= held.step
    assert [m.train_loss for m in run.of(Metric)] == [m.train_loss for m in whole.of(Metric)]


@pytest.mark.parametrize(("command", "outcome"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_held_training_obeys(start: Start, tmp_path: Path, command: str, outcome: str) -> None:
    holder = Holder(command)
    holder.folder = tmp_path / "jobs" / "job"
    run = start({"max_steps": 100_000}, on_event=holder)
    assert (run.outcome.outcome, run.exit_code) == (outcome, 0), run.log
    assert len(run.of(Checkpoint)) == (1 if outcome == "paused" else 0)
    if outcome == "paused":
        # Held before a step was begun, or after it was made.
        assert run.outcome.result["step"] - holder.held[0].step in (0, 1)


def test_the_stacks_are_written_at_sigusr1(start: Start, preloaded: Preloaded) -> None:
    def ask(event: Any, command: Command) -> None:
        if isinstance(event, Metric) and event.step == 2:
            os.kill(preloaded.pid, signal.SIGUSR1)
        if isinstance(event, Metric) and event.step == 30:
            command("cancel")

    run = start({"max_steps": 100_000}, on_event=ask)
    assert run.outcome.outcome == "cancelled", run.log
    assert "most recent call first" in run.log
    assert "in training_step" in run.log or "tasks/trainer.py" in run.log


def test_a_long_eval_shows_progress(start: Start) -> None:
    settings = {"eval_strategy": "steps", "eval_steps": 3, "eval_batch_size": 1}
    run = start(settings, data={"eval_split": 0.5})
    assert {event.activity for event in run.of(Progress)} >= {"train", "evaluate", "save_model"}
