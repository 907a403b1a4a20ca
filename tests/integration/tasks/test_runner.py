"""The training process as its supervisor sees it: a real process over a real socket pair."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import load_adapter
from tests.support.training import Preloaded, Run, run_training, write_jsonl
from trainyard.contract.checkpoint_manifest import MANIFEST_NAME, verify
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import (
    Checkpoint,
    Divergence,
    Metric,
    Outcome,
    Phase,
    Progress,
    Receipt,
)

ROWS = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}"} for n in range(60)]


def request(job_id: str, training: Mapping[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    settings = {
        "max_steps": 6,
        "batch_size": 4,
        "learning_rate": 0.01,
        "logging_steps": 2,
        "save_steps": 4,
        **(training or {}),
    }
    return {
        "execution_id": job_id,
        "dataset_path": "sums.jsonl",
        "config": {"model": {"name": "tiny"}, "training": settings, "data": data},
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the data set ``sums.jsonl``."""
    write_jsonl(tmp_path / "datasets" / "sums.jsonl", ROWS)
    return tmp_path


@pytest.fixture(scope="module")
def completed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One whole run, looked at by several tests."""
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "sums.jsonl", ROWS)
    asked = request("whole", {"eval_strategy": "steps", "eval_steps": 4}, eval_split=0.1)
    asked["config"]["training"] |= {"max_steps": 7}
    asked["config"]["training"] |= {"bf16": True, "optim": "paged_adamw_8bit", "beta": 0.1}
    asked["config"]["wandb_project"] = "x"
    return run_training(home, asked, models=models)


def test_a_training_reports_its_phases_points_and_outcome_in_order(completed: Run) -> None:
    assert completed.outcome.outcome == "completed", completed.log
    assert completed.exit_code == 0
    assert [phase.name for phase in completed.of(Phase)] == [
        "imports", "tokenizer", "data", "load_model", "trainer", "trial", "train", "save_model",
        "verify",
    ]  # fmt: skip
    trial = completed.outcome.result["trial"]
    assert trial["head"] == "fused"
    assert trial["loss"] == trial["own_loss"]
    assert "Trial on two rows: the model is causal" in completed.log
    steps = [metric.step for metric in completed.of(Metric)]
    assert steps == sorted(steps)
    assert [m.step for m in completed.of(Metric) if m.train_loss is not None] == [1, 2, 4, 6, 7]
    assert [m.step for m in completed.of(Metric) if m.eval_loss is not None] == [4, 7]
    assert [event for event in completed.events if isinstance(event, Outcome)] == [
        completed.events[-1]
    ]
    assert completed.of(Progress)[-1].step == completed.of(Progress)[-1].total_steps == 7


def test_the_loss_falls_and_its_figures_agree(completed: Run) -> None:
    result = completed.outcome.result
    assert result["last_eval_loss"] < result["first_eval_loss"]
    last = [metric for metric in completed.of(Metric) if metric.eval_loss is not None][-1]
    assert last.eval_loss == result["last_eval_loss"]
    assert last.perplexity == last.eval_perplexity == result["perplexity"]
    point = completed.of(Metric)[0]
    assert point.learning_rate is not None
    assert point.grad_norm is not None
    assert point.tokens_per_second is not None
    assert point.samples_per_second is not None
    assert point.gpu_utilization_percent is None
    # Seven batches of four rows, each of them some twenty tokens: padding would make it more.
    assert 28 * 10 < result["total_tokens"] < 28 * 40


def test_adjusted_and_ignored_settings_are_in_the_log(completed: Run) -> None:
    for said in (
        "Adjusted: config.training.bf16",
        "Adjusted: config.training.optim: paged_adamw_8bit",
        "Ignored: config.training.beta",
        "Ignored: config.wandb_project",
    ):
        assert said in completed.log
    assert "tok-secret" not in completed.log


def test_the_data_set_is_checked_before_the_device_is_taken(completed: Run) -> None:
    report = ["read as question/answer", "Length in tokens:", "trained on: ⟦…⟧", "Usable for sft"]
    places = [completed.log.find(said) for said in [*report, "the training takes its device"]]
    assert -1 not in places, completed.log
    assert places == sorted(places)


def test_the_model_loads_with_the_standard_classes(completed: Run) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = completed.job_dir / completed.outcome.result["model_dir"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.num_parameters() == completed.outcome.result["parameters"]
    assert tokenizer.chat_template
    assert not list(folder.glob("*.bin")), "nothing pickled"


def test_checkpoints_are_sealed_and_pruned(completed: Run) -> None:
    sent = completed.of(Checkpoint)
    assert [checkpoint.path for checkpoint in sent] == [
        "checkpoints/checkpoint-4",
        "checkpoints/checkpoint-7",
    ]
    assert (sent[0].is_best, sent[0].eval_loss is not None) == (True, True)
    for checkpoint in sent:
        manifest = verify(completed.job_dir / checkpoint.path)
        assert manifest.size_bytes == checkpoint.size_bytes
        assert {"optimizer.pt", "scheduler.pt", "rng_state.pth"} <= set(manifest.files)


def test_a_second_attempt_resumes_from_the_last_good_checkpoint(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    first = run_training(
        home, request("again", {"save_steps": 2}), models=models, preloaded=preloaded
    )
    folders = first.job_dir / "checkpoints"
    # As a crash while checkpoint 6 was being written would leave it.
    (folders / "checkpoint-6" / MANIFEST_NAME).unlink()
    second = run_training(
        home, request("again", {"save_steps": 2}), models=models, preloaded=preloaded, attempt=2
    )
    assert second.outcome.outcome == "completed", second.log
    assert "checkpoint-6 has no manifest" in second.log
    assert "Resuming from the checkpoint of step 4" in second.log
    assert [metric.step for metric in second.of(Metric)] == [6]
    last = [run.of(Metric)[-1].train_loss for run in (first, second)]
    assert last[0] == last[1], "the resumed steps are the same to the last bit"
    assert verify(folders / "checkpoint-6").attempt == 2


def test_cancel_stops_at_the_next_step_without_a_checkpoint(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    def cancel(event: Any, command: Callable[[str], None]) -> None:
        if isinstance(event, Metric):
            command("cancel")

    run = run_training(
        home,
        request("stop", {"max_steps": 100_000}),
        models=models,
        preloaded=preloaded,
        on_event=cancel,
    )
    assert (run.outcome.outcome, run.exit_code) == ("cancelled", 0), run.log
    assert run.outcome.error is None
    assert not (run.job_dir / "model").exists()


def test_pause_writes_a_checkpoint_first(models: Path, home: Path, preloaded: Preloaded) -> None:
    def pause(event: Any, command: Callable[[str], None]) -> None:
        if isinstance(event, Metric):
            command("pause")

    asked = request("hold", {"max_steps": 100_000, "save_steps": 100_000})
    run = run_training(home, asked, models=models, preloaded=preloaded, on_event=pause)
    assert (run.outcome.outcome, run.exit_code) == ("paused", 0), run.log
    assert isinstance(run.events[-2], Receipt)
    [checkpoint] = run.of(Checkpoint)
    assert run.outcome.result == {
        "checkpoint": checkpoint.path,
        "step": checkpoint.step,
        "parked": False,
    }
    assert verify(run.job_dir / checkpoint.path).step == checkpoint.step


def test_lora_saves_an_adapter_that_loads(models: Path, home: Path, preloaded: Preloaded) -> None:
    asked = request("lora", {"use_lora": True, "quantization": {}})
    run = run_training(home, asked, models=models, preloaded=preloaded)
    assert run.outcome.outcome == "completed", run.log
    assert (run.job_dir / "model" / "adapter_model.safetensors").is_file()
    assert load_adapter(models / "tiny", run.job_dir / "model").active_adapters


def test_a_loss_that_is_no_number_fails_the_job(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    asked = request("diverged", {"learning_rate": 1e30, "max_steps": 50, "max_grad_norm": 0})
    run = run_training(home, asked, models=models, preloaded=preloaded)
    assert run.exit_code == 1
    assert run.outcome.error is not None
    assert run.outcome.error.kind is ErrorKind.DIVERGED
    assert "step" in run.outcome.error.message


@pytest.mark.parametrize(
    ("spoilt", "save_steps", "saves"), [(4, 2, [2]), (6, 0, [])], ids=["saved", "last"]
)
def test_weights_that_a_step_spoilt_are_neither_a_checkpoint_nor_the_model(
    models: Path,
    home: Path,
    preloaded: Preloaded,
    spoilt: int,
    save_steps: int,
    saves: list[int],
) -> None:
    preloaded.spoil_at = spoilt
    try:
        saving = {"save_steps": save_steps} if save_steps else {"save_strategy": "no"}
        asked = request("spoilt", {"logging_steps": 1, **saving})
        run = run_training(home, asked, models=models, preloaded=preloaded)
    finally:
        preloaded.spoil_at = None
    assert run.outcome.error is not None, run.log
    assert run.outcome.error.kind is ErrorKind.DIVERGED
    assert f"weights are not finite after step {spoilt}" in run.outcome.error.message
    assert run.of(Divergence) == [Divergence(step=spoilt, name="weights", value="nan")]
    assert [metric.step for metric in run.of(Metric)][-1] == spoilt, "its loss was a number"
    assert [checkpoint.step for checkpoint in run.of(Checkpoint)] == saves
    assert not (run.job_dir / "model").exists()


def bad_requests() -> list[tuple[str, dict[str, Any], ErrorKind, str]]:
    missing = request("missing") | {"dataset_path": "nowhere.jsonl"}
    columns = request("columns") | {
        "dataset_path": "",
        "dataset_content": json.dumps({"price": 1, "size": 2}),
    }
    model = request("model")
    model["config"]["model"] = {"name": "no-such/model"}
    method = request("method", {"quantization": {"load_in_4bit": True}})
    short = request("short", {"max_length": 8})
    return [
        ("missing data set", missing, ErrorKind.DATASET, "No such data set: 'nowhere.jsonl'"),
        ("unusable columns", columns, ErrorKind.DATASET, "'price', 'size'"),
        ("missing model", model, ErrorKind.MODEL_NOT_FOUND, "No such model: 'no-such/model'"),
        ("quantised whole", method, ErrorKind.CONFIGURATION, "load_in_4bit: needs use_lora"),
        ("no token left", short, ErrorKind.DATASET, "max_length (8 tokens)"),
    ]


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [bad[1:] for bad in bad_requests()],
    ids=[b[0] for b in bad_requests()],
)
def test_bad_input_fails_with_a_clear_reason(
    models: Path,
    home: Path,
    asked: dict[str, Any],
    kind: ErrorKind,
    said: str,
    preloaded: Preloaded,
) -> None:
    run = run_training(home, asked, models=models, preloaded=preloaded)
    assert run.exit_code == 1
    error = run.outcome.error
    assert error is not None
    assert (error.kind, said in error.message) == (kind, True), error
    assert error.hint
    assert error.frames
    is_told_in_full = kind in {
        ErrorKind.CONFIGURATION,
        ErrorKind.DATASET,
        ErrorKind.GATED_MODEL,
        ErrorKind.MODEL_NOT_FOUND,
    }
    assert ("Traceback (most recent call last)" in run.log) != is_told_in_full
