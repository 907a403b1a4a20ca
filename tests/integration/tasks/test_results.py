"""Result of a training: its model and card, the best checkpoint, and what a full disk leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import load_adapter, run_card
from tests.support.small_disk import fill, small_disk
from tests.support.training import Preloaded, Run, run_training, write_jsonl
from trainyard.contract.checkpoint_manifest import verify
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import Checkpoint, Metric, Prediction

ROWS = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}."} for n in range(40)]
EVALS = {"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "sums.jsonl", ROWS)
    return home


def request(name: str, training: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    settings = {"max_steps": 6, "batch_size": 4, "learning_rate": 0.01, "logging_steps": 2}
    return {
        "execution_id": name,
        "dataset_path": "sums.jsonl",
        "config": {
            "model": {"name": "tiny"},
            "training": {**settings, **training},
            "data": {"eval_split": 0.1},
            **sections,
        },
    }


@pytest.fixture(scope="module")
def adapter(models: Path, home: Path, preloaded: Preloaded) -> Run:
    """A LoRA adapter with everything that may be asked for beside it."""
    asked = request(
        "adapter",
        {"use_lora": True, "lora_config": {"r": 4}, "merge_adapter": True, **EVALS},
        predictions={"prompts": ["What is 3 plus 1?"], "max_new_tokens": 5},
        tensorboard={"enabled": True, "log_dir": "./runs"},
    )
    return run_training(home, asked, models=models, preloaded=preloaded)


def test_adapter_and_merged_copy_load_and_say_the_same(adapter: Run, models: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert adapter.outcome.outcome == "completed", adapter.log
    folder = adapter.job_dir / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged")
    apart = load_adapter(models / "tiny", folder)
    assert AutoTokenizer.from_pretrained(folder / "merged").chat_template == tokenizer.chat_template
    assert not (folder / "merged" / "adapter_config.json").exists()
    ids = tokenizer("What is 3 plus 1?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, apart(ids).logits, rtol=1e-4, atol=1e-4)


def test_the_card_tells_what_was_trained_on_what_and_what_came_of_it(adapter: Run) -> None:
    card = (adapter.job_dir / "model" / "README.md").read_text()
    assert card.startswith('---\nbase_model: "tiny"\nlibrary_name: peft\n')
    result = adapter.outcome.result
    for said in (
        "| data set | sums.jsonl |",
        "| training rows | 36 |",
        "SHA-256",
        f"| eval loss at the end, of the saved model | {result['last_eval_loss']:.6g} |",
        '"per_device_train_batch_size": 4',
        "| hours in a slot, until this card was written | ",
        "| trl | 1.",
        "| step | loss | eval loss |",
    ):
        assert said in card
    assert str(adapter.job_dir) not in card
    assert "energy" not in card, "nothing is known of it on a CPU"


def test_the_card_of_the_merged_copy_loads_it(
    adapter: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = adapter.job_dir / "model" / "merged"
    card = (merged / "README.md").read_text()
    assert '\nbase_model: "tiny"\nlibrary_name: transformers\n' in card
    assert "This is the whole model, " in card
    assert "base_model_name_or_path" not in card
    made = run_card(merged, monkeypatch)
    assert not hasattr(made["model"], "peft_config")
    asked, answer = made["asked"]["input_ids"], made["answer"]
    assert "Hello!" in made["tokenizer"].decode(asked[0])
    assert answer.shape[1] > asked.shape[1]


def test_predictions_are_in_the_log_in_the_stream_and_in_a_file(adapter: Run) -> None:
    lines = (adapter.job_dir / "predictions.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    assert [point["step"] for point in points] == [0, 2, 4, 6]
    assert "What is 3 plus 1?" in points[0]["prompt"]
    assert f"asked {points[0]['prompt']!r}: {points[0]['prediction']!r}" in adapter.log
    assert [
        event.model_dump(exclude={"event", "cut"}, exclude_none=True)
        for event in adapter.of(Prediction)
    ] == points


def test_tensorboard_has_the_losses(adapter: Run) -> None:
    [events] = (adapter.job_dir / "tensorboard").iterdir()
    assert events.name.startswith("events.out.tfevents")
    assert b"train/loss" in events.read_bytes()


def test_predictions_change_no_number(models: Path, home: Path, preloaded: Preloaded) -> None:
    runs = [
        run_training(home, request(name, EVALS, **more), models=models, preloaded=preloaded)
        for name, more in (("silent", {}), ("asked", {"predictions": {"count": 2}}))
    ]
    one, two = ([(m.step, m.train_loss, m.grad_norm) for m in run.of(Metric)] for run in runs)
    assert one == two
    assert "asked '### Instruction" in runs[1].log


def test_a_training_that_gets_no_better_stops_with_its_best_kept(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    training = {
        **EVALS,
        **{"max_steps": 60, "learning_rate": 0.3, "early_stopping_patience": 2},
        **{"save_total_limit": 1, "load_best_model_at_end": True},
    }
    run = run_training(home, request("patience", training), models=models, preloaded=preloaded)
    assert run.outcome.outcome == "completed", run.log
    assert "Early stopping" in run.log
    assert run.outcome.result["steps"] < 60
    evals = {m.step: m.eval_loss for m in run.of(Metric) if m.eval_loss is not None}
    best = min(evals, key=lambda step: evals[step])
    kept = sorted(path.name for path in (run.job_dir / "checkpoints").glob("checkpoint-*"))
    last = run.outcome.result["steps"]
    assert kept == sorted({f"checkpoint-{best}", f"checkpoint-{last}"})
    assert max(c.step for c in run.of(Checkpoint) if c.is_best) == best
    weights = [
        (run.job_dir / folder / "model.safetensors").read_bytes()
        for folder in ("model", f"checkpoints/checkpoint-{best}")
    ]
    assert weights[0] == weights[1]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 5 MB."""
    with small_disk(tmp_path / "disk", "5m") as mounted:
        if not mounted:
            pytest.skip("mounting needs root, and a machine that lets it")
        yield tmp_path / "disk"


def test_a_disk_that_fills_up_fails_the_job_and_leaves_older_checkpoints(
    disk: Path, models: Path, preloaded: Preloaded
) -> None:
    write_jsonl(disk / "datasets" / "sums.jsonl", ROWS)

    def fill_once(event: Any, _: Any) -> None:
        if isinstance(event, Checkpoint) and not (disk / "filler").exists():
            fill(disk, leave=300_000)

    asked = request("full", {"max_steps": 100_000, "save_steps": 20, "save_total_limit": 1})
    run = run_training(disk, asked, models=models, preloaded=preloaded, on_event=fill_once)
    assert run.outcome.error is not None, run.log
    assert run.outcome.error.kind is ErrorKind.DISK_FULL, run.log
    assert "earlier checkpoints are intact" in run.outcome.error.hint
    kept = run.of(Checkpoint)
    assert kept, run.log
    assert verify(run.job_dir / kept[-1].path).step == kept[-1].step
    assert not list((run.job_dir / "checkpoints" / ".partial").glob("*"))


def test_a_job_that_cannot_fit_on_the_disk_does_not_start(
    disk: Path, models: Path, preloaded: Preloaded
) -> None:
    write_jsonl(disk / "datasets" / "sums.jsonl", ROWS)
    asked = request("huge", {"save_total_limit": 9})
    run = run_training(disk, asked, models=models, preloaded=preloaded)
    assert run.outcome.error is not None, run.log
    assert run.outcome.error.kind is ErrorKind.DISK_FULL
    assert "9 are kept" in run.outcome.error.message
    assert not run.of(Metric)
