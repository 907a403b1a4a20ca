"""One training in two processes of one slot: gloo ranks on the CPU."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.support.process_tree import slots
from tests.support.training import EVENT, Parking, Preloaded, Run, run_training, write_jsonl
from tests.support.waiting import wait_for
from trainyard.contract.checkpoint_manifest import verify
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import Checkpoint, Held, Metric, Outcome, Receipt, TrainingSpec
from trainyard.contract.parser import parse_request
from worker.machine.process_tree import descendants_of, process_stat


def rows_of(count: int) -> list[dict[str, Any]]:
    return [
        {"question": f"What is {n} plus 1?", "answer": f"{n + 1}" + " and so on" * (n % 7)}
        for n in range(count)
    ]


TWO = {"distributed": {"processes": 2, "strategy": "ddp"}}
LORA: dict[str, Any] = {"use_lora": True, "lora_config": {"r": 4}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the data set."""
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "sums.jsonl", rows_of(32))
    return home


def request(
    job_id: str, training: Mapping[str, Any], *, model: str = "tiny", **data: Any
) -> dict[str, Any]:
    settings = {
        "max_steps": 6,
        "batch_size": 2,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "save_steps": 100,
    }
    return {
        "execution_id": job_id,
        "dataset_path": "sums.jsonl",
        "config": {"model": {"name": model}, "training": {**settings, **training}, "data": data},
    }


def weights(run: Run) -> list[str]:
    folder = run.job_dir / "model"
    return [hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.safetensors")]


def tensors(run: Run) -> dict[str, torch.Tensor]:
    [path] = (run.job_dir / "model").glob("*.safetensors")
    return load_file(path)


def numbers(*runs: Run) -> list[tuple[Any, ...]]:
    return [
        (m.step, m.epoch, m.train_loss, m.eval_loss, m.learning_rate, m.grad_norm)
        for run in runs
        for m in run.of(Metric)
    ]


def figures(run: Run) -> list[dict[str, float]]:
    names = ("step", "epoch", "train_loss", "eval_loss", "learning_rate", "grad_norm")
    return [m.model_dump(include=set(names), exclude_none=True) for m in run.of(Metric)]


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        ("full", "ddp"),
        ("full", "fsdp"),
        ("group by length, accumulated", "ddp"),
        pytest.param("group by length, accumulated", "fsdp", marks=pytest.mark.slow),
        ("lora", "ddp"),
        pytest.param("lora", "fsdp", marks=pytest.mark.slow),
        ("dpo", "ddp"),
        pytest.param("dpo", "fsdp", marks=pytest.mark.slow),
        ("orpo", "ddp"),
        pytest.param("orpo", "fsdp", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one_with_twice_the_batch(
    kind: str, strategy: str, models: Path, home: Path, preloaded: Preloaded
) -> None:
    more: Mapping[str, Any] = {
        "full": {},
        "group by length, accumulated": {"group_by_length": True, "gradient_accumulation_steps": 2},
        "lora": {"use_lora": True, "lora_config": {"r": 4, "dropout": 0.0}},
        "dpo": {"method": "dpo", "beta": 0.2},
        "orpo": {"method": "orpo"},
    }[kind]
    # Seven eval rows: two processes of two rows each have one row too few. 32 rows to train on are
    # whole batches: of others some would come twice at an epoch's end.
    evals = {"eval_strategy": "steps", "eval_steps": 3, "eval_batch_size": 2}
    several = {"distributed": {"processes": 2, "strategy": strategy}}
    write_jsonl(home / "datasets" / "uneven.jsonl", rows_of(39))
    pairs = [
        {"prompt": f"{n} plus 1?", "chosen": f"It is {n + 1}.", "rejected": "no" * (1 + n % 4)}
        for n in range(39)
    ]
    write_jsonl(home / "datasets" / "pairs.jsonl", pairs)
    runs = []
    for name, training in (("one", {"batch_size": 4}), ("two", several)):
        asked = request(
            f"{name}-{strategy}-{kind[:4].strip()}",
            {**more, **evals, **training},
            eval_split=7 / 39,
        )
        asked["dataset_path"] = f"{'pairs' if kind in ('dpo', 'orpo') else 'uneven'}.jsonl"
        runs.append(run_training(home, asked, models=models, preloaded=preloaded))
    one, two = runs
    assert [run.outcome.outcome for run in runs] == ["completed"] * 2, two.log
    assert (two.exit_code, (two.job_dir / "ranks").exists()) == (0, False)
    assert one.outcome.result["eval_rows"] == 7
    assert figures(two) == [pytest.approx(point, rel=1e-3, abs=1e-6) for point in figures(one)]
    same = ("steps", "epochs", "train_rows", "total_tokens", "parameters")
    assert [two.outcome.result[k] for k in same] == [one.outcome.result[k] for k in same]
    assert "each step trains on" in two.log
    assert two.log.count("step 6/6, epoch") == 1, "the other rank repeats nothing"
    saved, expected = tensors(two), tensors(one)
    assert saved.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(saved[name], tensor, atol=2e-3), name


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [
        ("ddp", "full"),
        pytest.param("fsdp", "full", marks=pytest.mark.slow),
        pytest.param("fsdp", "lora", marks=pytest.mark.slow),
    ],
)
def test_a_pause_is_exact_in_every_rank(
    strategy: str, kind: str, models: Path, home: Path, preloaded: Preloaded
) -> None:
    lora = {**LORA, "gradient_checkpointing": True} if kind == "lora" else {}
    several = {"distributed": {"processes": 2, "strategy": strategy}, **lora}
    more = {**several, "logging_steps": 3, "num_epochs": 2, "max_steps": None, "batch_size": 4}
    whole = run_training(
        home,
        request(f"whole-{strategy}-{kind}", more, model="dropout"),
        models=models,
        preloaded=preloaded,
    )
    assert whole.outcome.outcome == "completed", whole.log

    def hold(event: Any, command: Callable[[str], None]) -> None:
        if isinstance(event, Metric):
            command("hold")
        elif isinstance(event, Held):
            command("continue")

    runs = []
    with Parking() as parking:
        for attempt, pause_at in enumerate(((5,), ()), start=1):
            run = run_training(
                home,
                request(f"paused-{strategy}-{kind}", more, model="dropout"),
                models=models,
                preloaded=preloaded,
                parking=parking if attempt == 1 else None,
                attempt=attempt,
                pause_at=pause_at,
                on_event=hold if attempt == 1 else None,
            )
            runs.append(run)
    first, second = runs
    assert first.outcome.result == {
        "checkpoint": "checkpoints/checkpoint-5",
        "step": 5,
        "parked": False,
    }, first.log
    assert first.of(Held), "it stood still, and went on"
    manifest = verify(first.job_dir / first.of(Checkpoint)[0].path)
    for name in ("rng_state_0.pth", "rng_state_1.pth", "receipt-1.json", "loss_sums-1.json"):
        assert name in manifest.files
    weights_name = "adapter_model.safetensors" if kind == "lora" else "model.safetensors"
    assert weights_name in manifest.files
    assert "pytorch_model_fsdp.bin" not in manifest.files
    assert second.outcome.outcome == "completed", second.log
    assert numbers(*runs) == numbers(whole)
    assert weights(second) == weights(whole)
    left, found = first.of(Receipt)[-1], second.of(Receipt)[0]
    assert left == found.model_copy(update={"when": "paused"})


@pytest.mark.slow
def test_a_shared_model_goes_back_to_its_best_checkpoint(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    more = {
        "distributed": {"processes": 2, "strategy": "fsdp"},
        "learning_rate": 5.0,  # so that it gets worse
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "load_best_model_at_end": True,
        "merge_adapter": True,
        "gradient_checkpointing": True,
    }
    asked = request("best", more, eval_split=0.25)
    asked["config"]["predictions"] = {"enabled": True}
    run = run_training(home, asked, models=models, preloaded=preloaded)
    assert run.outcome.outcome == "completed", run.log
    [best] = [point for point in run.of(Checkpoint) if point.is_best][-1:]
    assert best.step < 6
    [written] = (run.job_dir / best.path).glob("*.safetensors")
    expected, saved = load_file(written), tensors(run)
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[name], expected[name]) for name in expected)
    for path in ("predictions", "training.merge_adapter"):
        assert f"Ignored: config.{path}: no process has the whole model" in run.log


def test_the_ranks_draw_different_random_numbers(home: Path) -> None:
    folder = home / "jobs" / "paused-ddp-full" / "checkpoints" / "checkpoint-5"
    first, other = (
        Receipt.model_validate_json((folder / name).read_bytes())
        for name in ("receipt.json", "receipt-1.json")
    )
    assert first.optimizer_sha256 == other.optimizer_sha256
    assert first.rng_sha256 != other.rng_sha256


def test_a_failing_rank_fails_the_job_with_its_error(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    preloaded.fail_at = (1, 2)
    try:
        run = run_training(home, request("fails", TWO), models=models, preloaded=preloaded)
    finally:
        preloaded.fail_at = None
    assert run.exit_code == 1
    assert run.outcome.error is not None
    assert "no luck in rank 1" in run.outcome.error.message
    assert any(frame.function == "with_pause" for frame in run.outcome.error.frames)
    assert "[rank 1] ERROR Unexpected RuntimeError in the training: no luck in rank 1" in run.log


def test_a_killed_rank_is_a_crash_of_the_training(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    ranks: list[int] = []
    addresses: list[str] = []

    def kill(event: Any, _: Callable[[str], None]) -> None:
        if isinstance(event, Metric) and not ranks:
            ranks.extend(sorted(descendants_of(preloaded.pid)))
            addresses.extend(
                connection.laddr.ip
                for pid in (preloaded.pid, *ranks)
                for connection in psutil.Process(pid).net_connections("inet")
            )
            meeting = home / "jobs" / "killed" / "ranks" / "meeting"
            assert meeting.stat().st_size, "they met at no port, which every user could reach"
            os.kill(ranks[1], signal.SIGKILL)

    asked = request("killed", {**TWO, "max_steps": 100_000})
    run = run_training(home, asked, models=models, preloaded=preloaded, on_event=kill)
    assert (run.exit_code, run.of(Outcome)) == (-signal.SIGKILL, [])
    assert "ended with SIGKILL and said nothing" in run.log
    assert len(ranks) == 2
    wait_for("none is left", lambda: not any(map(process_stat, ranks)))
    assert {address.removeprefix("::ffff:") for address in addresses} <= {"127.0.0.1", "::1"}
    assert addresses, "they do talk"


def test_stacks_of_all_ranks_and_a_cancel_at_the_next_step(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    below: list[int] = []

    def cancel(event: Any, command: Callable[[str], None]) -> None:
        if not isinstance(event, Metric):
            return
        if not below:
            below.extend(descendants_of(preloaded.pid))
            os.kill(preloaded.pid, signal.SIGUSR1)
        log = (home / "jobs" / "stop" / "output-1.txt").read_text()
        if "[rank 1] Current thread" in log and "\nCurrent thread" in log:
            command("cancel")

    asked = request("stop", {**TWO, "max_steps": 100_000})
    run = run_training(home, asked, models=models, preloaded=preloaded, on_event=cancel)
    assert (run.outcome.outcome, run.exit_code) == ("cancelled", 0), run.log
    assert not (run.job_dir / "model").exists()
    assert len(below) == 2
    assert not any(process_stat(pid) for pid in below)


def test_what_the_first_rank_alone_finds_out_is_the_jobs_reason(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    asked = request("missing", TWO) | {"dataset_path": "nowhere.jsonl"}
    run = run_training(home, asked, models=models, preloaded=preloaded)
    assert run.exit_code == 1
    assert run.outcome.error is not None
    assert run.outcome.error.kind is ErrorKind.DATASET
    assert "No such data set: 'nowhere.jsonl'" in run.outcome.error.message


def test_a_slot_with_too_little_room_refuses(
    models: Path, home: Path, preloaded: Preloaded
) -> None:
    asked = request("room", {"distributed": {"processes": 64}})
    run = run_training(home, asked, models=models, preloaded=preloaded)
    cores = len(os.sched_getaffinity(0))
    assert run.outcome.error is not None
    assert run.outcome.error.kind is ErrorKind.CONFIGURATION
    assert f"processes is 64, and this slot has {cores} CPU core" in run.outcome.error.message


@pytest.mark.parametrize("how", ["kill", "supervisor gone"])
def test_the_keeper_leaves_no_rank_behind(
    how: str, models: Path, home: Path, tmp_path: Path
) -> None:
    asked = request(f"forced-{how[:4]}", {**TWO, "max_steps": 100_000})
    parsed = parse_request({"job_token": "t", **asked})
    job_dir = tmp_path / "job"
    job_dir.mkdir()
    (job_dir / "request.json").write_text(json.dumps(parsed.without_secrets()))
    spec = TrainingSpec(
        job_id=parsed.execution_id,
        attempt=1,
        slot="test-0",
        job_dir=str(job_dir),
        cache_dir=str(home / "cache"),
        dataset_roots=[str(home / "datasets")],
        model_roots=[str(models)],
    )
    with slots(tmp_path, "tasks.runner:main") as open_one:
        attempt = open_one("import tasks.preload").start("")
        attempt.events.sendall(spec.model_dump_json().encode() + b"\n")
        with attempt.events.makefile("rb") as lines:
            while not isinstance(EVENT.validate_json(lines.readline()), Metric):
                pass
        ranks = list(descendants_of(attempt.training_pid))
        assert len(ranks) == 2
        if how == "kill":
            attempt.handle.kill()
            # How many the keeper had to kill itself is open: a rank also dies with its parent.
            assert attempt.wait_end().signal == signal.SIGKILL
        else:
            attempt.handle.close()
            attempt.output.wait_until_all_are_dead()
        wait_for("none is left", lambda: not any(map(process_stat, ranks)))
