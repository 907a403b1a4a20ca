"""The model that is saved, and that nothing better is passed over without a word."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.results.saved import SavedModel, choose_saved
from tests.support.callbacks import RecordingChannel, run_over
from trainyard.contract.checkpoint_manifest import Manifest


def choose(
    job_dir: Path, evals: dict[int, float], kept: tuple[int, ...], *, best: bool = True
) -> tuple[SavedModel, list[str]]:
    """What is saved after 30 steps, and what was loaded for that. ``kept``: checkpoints."""
    for step in kept:
        folder = job_dir / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        loss = evals.get(step)
        manifest = Manifest(
            job_id="j", attempt=1, step=step, epoch=1, train_loss=9, eval_loss=loss, metric=loss
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json())
    loaded: list[str] = []
    history = [{"step": step, "eval_loss": loss} for step, loss in evals.items()]
    state = SimpleNamespace(global_step=30, log_history=history, best_model_checkpoint=None)
    trainer: Any = SimpleNamespace(
        state=state,
        args=SimpleNamespace(metric_for_best_model="eval_loss", greater_is_better=False),
        _load_best_model=lambda: loaded.append(Path(str(state.best_model_checkpoint)).name),
    )
    run = run_over(RecordingChannel(), load_best_model_at_end=best)
    run.spec = run.spec.model_copy(update={"job_dir": str(job_dir)})
    last_eval = max(evals, default=None)
    reporter: Any = SimpleNamespace(
        train_loss=1.0, last_eval_step=last_eval, last_eval_loss=evals.get(last_eval or 0)
    )
    return choose_saved(run, trainer, reporter), loaded


@pytest.mark.parametrize(
    ("evals", "kept", "step", "loaded"),
    [
        ({10: 3.0, 20: 2.0, 30: 4.0}, (10, 20, 30), 20, ["checkpoint-20"]),
        # The last eval is made after the last checkpoint: its weights are still at hand.
        ({10: 3.0, 20: 2.0, 30: 1.0}, (10, 20), 30, []),
        ({10: 3.0, 20: 2.0, 30: 2.0}, (10, 20), 30, []),
        ({30: 2.0}, (), 30, []),
    ],
)
def test_it_is_the_best(
    evals: dict[int, float], kept: tuple[int, ...], step: int, loaded: list[str], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with caplog.at_level("INFO"):
        saved, found = choose(tmp_path, evals, kept)
    assert (saved.step, saved.eval_loss, found) == (step, evals[step], loaded)
    assert caplog.messages == [
        f"The result is the model of step {step}, the best (eval_loss {evals[step]:.4f})"
    ]


def test_its_figures_are_those_of_its_own_step(tmp_path: Path) -> None:
    assert choose(tmp_path, {10: 2.0, 30: 3.0}, (10,))[0] == SavedModel(10, 9.0, 2.0)


def test_without_being_asked_it_is_the_last(tmp_path: Path) -> None:
    saved, loaded = choose(tmp_path, {10: 2.0, 30: 3.0}, (10,), best=False)
    assert (saved, loaded) == (SavedModel(30, 1.0, 3.0), [])


@pytest.mark.parametrize(
    ("evals", "said"),
    [
        ({10: 1.5, 20: 2.0, 30: 4.0}, "Step 10, which has no checkpoint, was better than the"),
        ({0: 1.5, 20: 2.0, 30: 4.0}, "The base model was better than the result"),
    ],
)
def test_what_was_better_is_said(
    evals: dict[int, float], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        saved, _ = choose(tmp_path, evals, (20, 30))
    assert saved.step == 20
    assert "the best" not in caplog.messages[0]
    assert said in caplog.messages[1]


def test_without_an_eval_it_is_the_last_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose(tmp_path, {}, (10,))[0] == SavedModel(30, 1.0, None)
    assert "Nothing was evaluated" in caplog.text
