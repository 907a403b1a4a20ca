"""The longest rows are tried before the first step; the training is the same with and without."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import DPOConfig, SFTConfig

from tasks.callbacks.fit_check import FitCheck, try_longest_rows
from tasks.callbacks.random_numbers import random_numbers_kept
from tasks.channel import Channel, SocketChannel
from tasks.checkpoints.receipts import rng_sha256
from tasks.errors import report
from tasks.methods.registry import PreferenceTrainer, SupervisedTrainer
from tasks.out_of_memory import try_smaller
from tests.support.models import make_tiny_model
from trainyard.contract.config import JobConfig
from trainyard.contract.events import TrainingSpec
from trainyard.contract.request import TrainingRequest

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # within trl

ROWS = [{"input_ids": list(range(3, 6 + n)), "labels": list(range(3, 6 + n))} for n in range(16)]
PAIRS = [
    {"prompt_ids": [3, 4, 5], "chosen_ids": [6] * (n + 1), "rejected_ids": [7] * (2 + n % 3)}
    for n in range(16)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def channel() -> Iterator[Channel]:
    ours, theirs = socket.socketpair()
    channel = SocketChannel(theirs.detach())
    yield channel
    channel.close()
    ours.close()


def make(folder: Path, output: Path, method: str = "sft", *, cpu: bool = True) -> Any:
    """A trainer of a model with dropout."""
    set_seed(3)
    model = AutoModelForCausalLM.from_pretrained(folder, attention_dropout=0.3)
    common = {
        "output_dir": str(output),
        "use_cpu": cpu,
        "bf16": False,
        "activation_checkpointing": False,
        "per_device_train_batch_size": 4,
        "max_steps": 6,
        "logging_steps": 2,
        "learning_rate": 0.01,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if method == "dpo":
        return PreferenceTrainer(
            model=model,
            ref_model=AutoModelForCausalLM.from_pretrained(folder),
            args=DPOConfig(**common),
            train_dataset=Dataset.from_list(PAIRS),
            processing_class=tokenizer,
        )
    arguments = SFTConfig(**common, dataset_kwargs={"skip_prepare_dataset": True})
    rows = Dataset.from_list(ROWS)
    return SupervisedTrainer(
        model=model, args=arguments, train_dataset=rows, processing_class=tokenizer
    )


class Lengths(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Notes the shape of each batch, and whether a step was made when it came."""

    def __init__(self, trainer: Any) -> None:
        self.seen: list[tuple[int, ...]] = []
        step = trainer.training_step

        def noting(model: Any, batch: Any, *more: Any) -> Any:
            self.seen.append(tuple(batch["input_ids"].shape))
            return step(model, batch, *more)

        trainer.training_step = noting


def trained(trainer: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    trainer.train()
    timed = ("runtime", "per_second", "total_flos")
    log = [
        {name: value for name, value in entry.items() if not any(sign in name for sign in timed)}
        for entry in trainer.state.log_history
    ]
    return {name: p.detach().cpu() for name, p in trainer.model.named_parameters()}, log


@pytest.mark.parametrize("method", ["sft", pytest.param("dpo", marks=pytest.mark.slow)])
def test_weights_and_figures_are_the_same_bits_with_and_without_it(
    folder: Path, tmp_path: Path, method: str, channel: Channel
) -> None:
    weights, log = trained(make(folder, tmp_path, method))
    trainer = make(folder, tmp_path, method)
    lengths = Lengths(trainer)
    trainer.add_callback(FitCheck(trainer, channel))
    checked_weights, checked_log = trained(trainer)
    assert len(lengths.seen) == 1 + 6
    assert lengths.seen[0] == max(lengths.seen, key=lambda shape: shape[1])
    assert all(torch.equal(weights[name], checked_weights[name]) for name in weights)
    assert checked_log == log


def test_it_makes_no_step_and_leaves_no_gradient(folder: Path, tmp_path: Path) -> None:
    trainer = make(folder, tmp_path)
    found: list[Any] = []

    class Look(TrainerCallback):  # type: ignore[misc]  # as above
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            before, numbers = trainer.model.state_dict(), rng_sha256()
            before = {name: value.clone() for name, value in before.items()}
            found.append(try_longest_rows(trainer))
            assert rng_sha256() == numbers
            assert all(p.grad is None for p in trainer.model.parameters())
            after = trainer.model.state_dict()
            assert all(torch.equal(before[name], after[name]) for name in before)
            found.append(len(trainer.optimizer.state))

    trainer.add_callback(Look())
    trainer.train()
    assert found == [max(len(row["input_ids"]) for row in ROWS), 0]


def test_every_kind_of_random_number_is_kept() -> None:
    numbers = rng_sha256()
    with pytest.raises(KeyError), random_numbers_kept():
        random.random()
        numpy.random.rand()
        torch.rand(1)
        assert rng_sha256() != numbers
        raise KeyError
    assert rng_sha256() == numbers


def test_what_does_not_fit_is_tried_again_in_smaller_pieces(
    folder: Path, tmp_path: Path, channel: Channel
) -> None:
    trainer = make(folder, tmp_path)

    def no_room(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    trainer.training_step = no_room
    trainer.add_callback(FitCheck(trainer, channel))
    with pytest.raises(torch.OutOfMemoryError) as caught:
        trainer.train()
    assert trainer.state.global_step == 0
    config = JobConfig.model_validate({"model": {"name": "m"}, "training": {"batch_size": 4}})
    request = TrainingRequest(execution_id="j", dataset_path="a.jsonl", config=config)
    spec = TrainingSpec(
        job_id="j",
        attempt=1,
        slot="s",
        job_dir=str(tmp_path),
        cache_dir=str(tmp_path),
        dataset_roots=[],
        model_roots=[],
    )
    less = try_smaller(spec, request, report(caught.value))
    assert less is not None
    smaller = less[1].config.training
    assert (smaller.batch_size, smaller.gradient_accumulation_steps) == (2, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_it_says_the_peak_and_changes_nothing(
    folder: Path, tmp_path: Path, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    weights, log = trained(make(folder, tmp_path, cpu=False))
    trainer = make(folder, tmp_path, cpu=False)
    trainer.add_callback(FitCheck(trainer, channel))
    with caplog.at_level("INFO"):
        checked_weights, checked_log = trained(trainer)
    assert all(torch.equal(weights[name], checked_weights[name]) for name in weights)
    assert checked_log == log
    [said] = [r.getMessage() for r in caplog.records if "Fit check" in r.getMessage()]
    assert "4 rows of up to 18 tokens" in said
