"""A training that does not fit goes on in smaller pieces, with the same effective batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.out_of_memory import smaller
from tests.support.training import Preloaded, Run, run_training, write_jsonl
from trainyard.contract.checkpoint_manifest import read_manifest
from trainyard.contract.config import JobConfig
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import Checkpoint, Metric, Phase

ROWS = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}."} for n in range(30)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "sums.jsonl", ROWS)
    return home


def request(name: str, training: Mapping[str, Any]) -> dict[str, Any]:
    settings = {"max_steps": 6, "batch_size": 8, "learning_rate": 0.01, "logging_steps": 1}
    return {
        "execution_id": name,
        "dataset_path": "sums.jsonl",
        "config": {"model": {"name": "tiny"}, "training": {**settings, **training}},
    }


def losses(run: Run) -> dict[int, float]:
    return {m.step: m.train_loss for m in run.of(Metric)}


def test_half_the_micro_batch_from_the_last_checkpoint_trains_alike(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    whole = run_training(home, request("whole", {}), models=models, preloaded=preloaded)
    # The checkpoint of step 2 is of whole batches; then a quarter of one fits.
    preloaded.rows_that_fit = (3, 2)
    run = run_training(home, request("less", {"save_steps": 2}), models=models, preloaded=preloaded)
    preloaded.rows_that_fit = None
    assert run.outcome.outcome == "completed", run.log
    assert "memory is too small" in run.log
    assert "batch_size 8 → 4 and gradient_accumulation_steps 1 → 2" in run.log
    assert "batch_size 4 → 2 and gradient_accumulation_steps 2 → 4" in run.log
    assert run.log.count("Resuming from the checkpoint of step 2") == 2
    assert losses(run) == pytest.approx(losses(whole), rel=1e-4)
    assert [c.step for c in run.of(Checkpoint)] == [2, 4, 6]
    manifest = read_manifest(run.job_dir / "checkpoints" / "checkpoint-6")
    assert (manifest.batch_size, manifest.accumulation) == (2, 4)


def test_what_the_fit_check_finds_too_large_trains_in_smaller_pieces(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    asked = request("checked-whole", {})
    whole = run_training(home, asked, models=models, preloaded=preloaded)
    preloaded.rows_that_fit = (-1, 4)
    run = run_training(home, request("checked", {}), models=models, preloaded=preloaded)
    preloaded.rows_that_fit = None
    assert run.outcome.outcome == "completed", run.log
    assert run.log.count("batch_size 8 → 4 and gradient_accumulation_steps 1 → 2") == 1
    # The first check raised instead of ending; nothing was trained before the second.
    assert [phase.name for phase in run.of(Phase)].count("fit_check") == 1
    assert "Resuming" not in run.log
    assert [metric.step for metric in run.of(Metric)] == [1, 2, 3, 4, 5, 6]
    assert losses(run) == pytest.approx(losses(whole), rel=1e-4)


def test_a_resume_goes_on_in_the_pieces_that_fitted(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    preloaded.rows_that_fit = (0, 4)
    asked = request("resumed", {"save_steps": 2})
    first = run_training(home, asked, models=models, preloaded=preloaded, pause_at=(4,))
    assert first.outcome.outcome == "paused", first.log
    second = run_training(home, asked, models=models, preloaded=preloaded, attempt=2)
    preloaded.rows_that_fit = None
    assert second.outcome.outcome == "completed", second.log
    assert "as the checkpoint was trained" in second.log
    assert "memory is too small" not in second.log


@pytest.mark.parametrize("kind", ["not wanted", "nothing smaller is left"])
def test_what_does_not_fit_at_all_fails_with_a_hint(
    kind: str, models: Path, home: Path, preloaded: Preloaded
) -> None:
    more = {"retry_out_of_memory": False} if kind == "not wanted" else {}
    preloaded.rows_that_fit = (0, 0)
    asked = request(kind.replace(" ", "-"), {"batch_size": 2, **more})
    run = run_training(home, asked, models=models, preloaded=preloaded)
    preloaded.rows_that_fit = None
    assert run.outcome.error is not None
    assert run.outcome.error.kind is ErrorKind.OUT_OF_MEMORY
    assert "gradient_checkpointing" in run.outcome.error.hint
    assert ("with gradient_checkpointing." in run.log) == (kind != "not wanted")


@pytest.mark.slow
def test_several_processes_start_again_together(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    preloaded.rows_that_fit = (2, 2)
    asked = request("ranks", {"batch_size": 4, "distributed": {"processes": 2}, "save_steps": 2})
    run = run_training(home, asked, models=models, preloaded=preloaded)
    preloaded.rows_that_fit = None
    assert run.outcome.outcome == "completed", run.log
    assert "batch_size 4 → 2" in run.log
    assert "Resuming from the checkpoint of step 2" in run.log


def test_pieces_become_smaller_down_to_one_row_then_activations_are_not_kept() -> None:
    config = JobConfig.model_validate(
        {"model": {"name": "m"}, "training": {"batch_size": 12, "gradient_accumulation_steps": 2}}
    )
    seen = []
    while (less := smaller(config)) is not None:
        config = less[0]
        training = config.training
        assert training.batch_size * training.gradient_accumulation_steps == 24
        seen.append((training.batch_size, training.gradient_checkpointing))
    assert seen == [(6, None), (3, None), (1, None), (1, True)]
