"""The trial: what would end in a completed job with a wrong model is found on two rows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import datasets
import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.arguments.adaptation import Context
from tasks.arguments.build import build_arguments
from tasks.arguments.machine import Machine
from tasks.errors import ModelError
from tasks.methods.parts import Parts
from tasks.methods.registry import make_arguments, make_trainer
from tasks.methods.rewards import BUILT_IN
from tasks.models.load import load_model, load_tokenizer
from tasks.trial.sample import changed
from tasks.trial.trial import TrialRecord, hold
from tasks.trial.untouched import untouched
from tests.support.architectures import make_architecture
from trainyard.contract.config import JobConfig

# PEFT reads a name of transformers that has another one now.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

CPU = Machine(cuda=False, bf16=False, cores=2, bitsandbytes=False, device_name="CPU")
TOKENS = [list(range(20, 50)), list(range(60, 80))]
ROWS: dict[str, dict[str, Any]] = {
    "sft": {"input_ids": TOKENS, "labels": TOKENS},
    "dpo": {
        "prompt_ids": TOKENS,
        "chosen_ids": [[30, 31], [32, 33]],
        "rejected_ids": [[40, 41], [42, 43]],
    },
    "rlhf": {"prompt": ["What is the answer?", "Which one?"], "answer": ["1", "2"]},
}


class Data:
    """Tokenised rows as the trainers get them."""

    eval = None

    def __init__(self, method: str) -> None:
        self.train = self
        self.dataset = datasets.Dataset.from_dict(ROWS["dpo" if method == "orpo" else method])


def trainer_of(folder: Path, tmp_path: Path, method: str = "sft", **training: Any) -> Any:
    """The trainer of a job, as the trial finds it."""
    config = JobConfig.model_validate(
        {
            "model": {"name": "it"},
            "training": {"method": method, "batch_size": 2, **training},
            "lora": {"r": 4, "bias": training.pop("bias", "none")},
        }
    )
    arguments = build_arguments(
        Context(config, CPU, 64, False, []), output_dir=str(tmp_path / "out"), eval_on_start=False
    )

    def load() -> Any:
        return load_model(
            folder,
            config,
            dtype="float32",
            quantization=None,
            attention=None,
            trust_remote_code=False,
        )

    parts = Parts(
        load(),
        load() if method == "dpo" and not config.training.use_lora else None,
        (BUILT_IN["brevity"],),
        (None,),
    )
    tokenizer = load_tokenizer(folder, config, False)
    args = make_arguments(arguments, config)
    data: Any = Data(method)
    return make_trainer(parts, tokenizer, data, args, config)


def tried(folder: Path, tmp_path: Path, method: str = "sft", **training: Any) -> TrialRecord:
    return hold(trainer_of(folder, tmp_path, method, **training), "it", compares=method == "dpo")


@pytest.mark.parametrize(("method", "training"), [("sft", {}), ("dpo", {}), ("orpo", {})])
def test_a_sound_training_passes(tmp_path: Path, method: str, training: dict[str, Any]) -> None:
    found = tried(make_architecture(tmp_path / "m", "llama"), tmp_path, method, **training)
    assert found.leak < 1e-6
    assert found.loss == pytest.approx(found.own_loss, abs=1e-5)
    assert found.head == "fused"
    assert found.drift is None


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_model_that_sees_its_answers_is_refused(tmp_path: Path, kind: str, method: str) -> None:
    folder = make_architecture(tmp_path / "m", kind)
    with pytest.raises(ModelError, match=r"LM\w*\) is not causal: .* copy its answers"):
        tried(folder, tmp_path, method)


def test_the_same_as_a_decoder_is_trained(tmp_path: Path) -> None:
    folder = make_architecture(tmp_path / "m", "bert", is_decoder=True)
    assert tried(folder, tmp_path).leak < 1e-6


@pytest.mark.parametrize(
    ("method", "training"), [("sft", {}), ("dpo", {}), ("dpo", {"use_lora": True})]
)
def test_a_head_that_leaves_something_out_gives_way_to_the_model_s_forward(
    tmp_path: Path, method: str, training: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_architecture(tmp_path / "m", "modernbert-decoder")
    trainer = trainer_of(folder, tmp_path, method, **training)
    found = hold(trainer, "it", compares=True)
    assert (found.head, found.loss) == ("plain", pytest.approx(found.own_loss, abs=1e-5))
    assert "Adjusted: the loss comes from the model's own forward" in caplog.text
    batch = trainer.data_collator([trainer.train_dataset[number] for number in range(2)])
    trainer.model.eval()
    with torch.no_grad():
        loss = float(trainer.compute_loss(trainer.model, batch))
    if method == "dpo":
        # The policy is the reference before the first step.
        assert loss == pytest.approx(0.693147, abs=1e-5)
        return
    assert loss == pytest.approx(by_plain_torch(folder), abs=1e-4)


def by_plain_torch(folder: Path) -> float:
    """The token mean of the cross-entropy of the rows, row by row."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    sums = []
    for row in TOKENS:
        with torch.no_grad():
            logits = model(torch.tensor([row])).logits[0, :-1]
        sums.append(
            torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:]), reduction="sum")
        )
    return float(sum(sums)) / sum(len(row) - 1 for row in TOKENS)


def test_answers_that_are_sampled_are_rated_by_the_model_s_forward_too(tmp_path: Path) -> None:
    folder = make_architecture(tmp_path / "m", "modernbert-decoder")
    rlhf = {"reward_functions": ["brevity"], "num_generations": 2, "temperature": 0.7}
    trainer = trainer_of(folder, tmp_path, "rlhf", rlhf=rlhf)
    found = hold(trainer, "it", compares=True)
    assert (found.head, found.loss) == ("plain", pytest.approx(found.own_loss, abs=1e-5))
    ids = torch.tensor([TOKENS[0]])
    rated = [
        model(ids, labels=ids, fused_lm_head=True).log_probs
        for model in (trainer.model.eval(), trainer.ref_model.eval())
    ]
    assert torch.equal(*rated)


def test_a_head_that_raises_gives_way_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_architecture(tmp_path / "m", "llama")
    trainer = trainer_of(folder, tmp_path)

    def broken(*_: Any, **more: Any) -> Any:
        if more.get("fused_lm_head"):
            raise AttributeError("no last_hidden_state")
        more.pop("fused_lm_head", None)
        return type(trainer.model).forward(trainer.model, *_, **more)

    monkeypatch.setattr(trainer.model, "forward", broken)
    assert hold(trainer, "it", compares=False).head == "plain"


def test_a_loss_that_is_not_the_model_s_either_way_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_architecture(tmp_path / "m", "modernbert-decoder")
    monkeypatch.setattr("tasks.trial.trial.use_plain_forward", lambda *_: None)
    with pytest.raises(ModelError, match=r"would minimise is [\d.]+, but its own logits give"):
        tried(folder, tmp_path)


def test_a_reference_that_moves_with_the_training_is_refused(tmp_path: Path) -> None:
    folder = make_architecture(tmp_path / "m", "qwen2")
    assert tried(folder, tmp_path, "dpo", use_lora=True).drift == 0.0
    trainer = trainer_of(folder, tmp_path, "dpo", use_lora=True)
    for name, weight in trainer.model.named_parameters():
        if name.endswith("q_proj.base_layer.bias"):
            weight.requires_grad_(True)
    with pytest.raises(ModelError, match="would move with it") as refused:
        hold(trainer, "it", compares=True)
    assert "lora.bias" in refused.value.mend


def test_nothing_of_the_training_is_changed(tmp_path: Path) -> None:
    folder = make_architecture(tmp_path / "m", "llama")
    trainer = trainer_of(folder, tmp_path, "dpo", use_lora=True)
    model = trainer.model
    model.train()
    model.base_model.model.lm_head.eval()

    def state() -> list[Any]:
        buffers = [buffer.clone() for buffer in model.buffers()]
        return [
            [*(weight.clone() for weight in model.parameters()), *buffers],
            [module.training for module in model.modules()],
            [(weight.grad, weight.requires_grad) for weight in model.parameters()],
            {name: dict(values) for name, values in trainer._metrics.items()},
            (trainer._total_train_tokens, trainer.state.global_step),
            [torch.rand(1).item(), numpy.random.rand(), random.random()],
        ]

    def seed() -> None:
        torch.manual_seed(1)
        numpy.random.seed(1)
        random.seed(1)

    seed()
    before = state()
    seed()
    hold(trainer, "it", compares=True)
    after = state()
    pairs = zip(before.pop(0), after.pop(0), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert before == after


def test_what_is_tried_may_spoil_buffers_and_modes() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Dropout())
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    random_numbers = torch.get_rng_state()
    with untouched(model):
        assert not model.training
        model.train()
        model(torch.rand(4, 2))
        model[0].running_mean = torch.ones(2)
        torch.rand(3)
    assert model.training and model[1].training
    assert torch.equal(torch.get_rng_state(), random_numbers)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, kept[name])


@pytest.mark.parametrize("tokens", [[5, 6, 7, 8], [5, 5, 5, 5], [0, 0, 0, 0]])
def test_every_later_token_is_another(tokens: list[int]) -> None:
    found = changed(tokens, 2, tokens)
    assert found[:2] == tokens[:2]
    assert all(one != other for one, other in zip(found[2:], tokens[2:], strict=True))
