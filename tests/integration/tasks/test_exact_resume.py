"""Paused and resumed, warm and cold: the same bits and the same numbers as without a pause."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.training import Parking, Preloaded, Run, run_training, write_jsonl
from trainyard.contract.events import Metric, Receipt

SUMS = [
    {"question": f"What is {n} plus 1?", "answer": f"{n + 1}" + " and so on" * (n % 7)}
    for n in range(30)
]
PREFERENCES = [
    {
        "prompt": f"What is {n} plus 1?",
        "chosen": f"It is {n + 1}.",
        "rejected": f"{n}" * (n % 4 + 1),
    }
    for n in range(30)
]


@dataclass(frozen=True)
class Case:
    """What is trained, and after which steps it is paused."""

    training: dict[str, Any]
    pauses: tuple[int, ...]
    model: str = "dropout"
    data: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    dataset: str = "sums.jsonl"
    datasets: tuple[dict[str, Any], ...] = ()
    slow: bool = False


LORA = {"use_lora": True, "lora_config": {"r": 4, "dropout": 0.1}}
ANSWERS = {"num_generations": 2, "max_completion_length": 8}
CASES = {
    # 30 rows in batches of 4 are 8 steps an epoch, the last of them smaller.
    "dropout, mid-epoch": Case({"max_steps": 7}, (2, 5)),
    "two pauses in a row": Case({"max_steps": 5}, (2, 3)),
    "at an epoch's end, and in the next": Case({"max_steps": 10}, (8, 9)),
    "at an epoch's end with an eval there": Case(
        {"batch_size": 6, "num_epochs": 3, "eval_strategy": "epoch"},
        (4, 8),
        data={"eval_split": 0.2},
    ),
    "an eval at the paused step": Case(
        {"max_steps": 6, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 3},
        (2, 3),
        data={"eval_split": 0.2},
    ),
    # 8 micro-batches an epoch in groups of 3: the third step of each has two.
    "accumulation with remainder": Case({"max_steps": 8, "gradient_accumulation_steps": 3}, (2, 3)),
    "lora": Case({"max_steps": 5, **LORA}, (1, 3)),
    "dora, and a head that is trained whole": Case(
        {
            "max_steps": 5,
            "use_lora": True,
            "lora_config": {
                **{"r": 4, "dropout": 0.1, "use_dora": True, "use_rslora": True},
                **{"modules_to_save": ["lm_head"], "init_lora_weights": "gaussian"},
            },
        },
        (1, 3),
    ),
    "noise on embeddings, a frozen layer": Case(
        {"max_steps": 7, "neftune_noise_alpha": 5, "freeze": ["model.layers.0"]}, (2, 5)
    ),
    "new tokens, more than the model had room for": Case(
        {"max_steps": 5},
        (1, 3),
        tokenizer={"add_tokens": [" plus", *(f"<{n}>" for n in range(400))]},
    ),
    "new tokens in an adapter": Case(
        {"max_steps": 5, **LORA},
        (1, 3),
        tokenizer={"add_tokens": [" plus"], "additional_special_tokens": ["What"]},
        slow=True,
    ),
    "packing": Case({"max_steps": 8, "packing": True, "max_length": 64, "batch_size": 2}, (2, 5)),
    "loader workers": Case({"max_steps": 11, "dataloader_num_workers": 1}, (3, 9)),
    "dpo": Case({"method": "dpo", "max_steps": 5, "beta": 0.2}, (1, 3), dataset="pairs.jsonl"),
    "dpo with lora, another loss": Case(
        {"method": "dpo", "loss_type": "ipo", "max_steps": 5, **LORA}, (1, 3), dataset="pairs.jsonl"
    ),
    "cpt": Case({"method": "cpt", "max_steps": 9, "max_length": 32}, (2, 7), dataset="play.txt"),
    "cpt with lora": Case(
        {"method": "cpt", "max_steps": 5, "max_length": 32, **LORA},
        (1, 3),
        dataset="play.txt",
        slow=True,
    ),
    "orpo": Case({"method": "orpo", "max_steps": 5}, (1, 3), dataset="pairs.jsonl"),
    "orpo with lora": Case(
        {"method": "orpo", "max_steps": 5, **LORA}, (1, 3), dataset="pairs.jsonl", slow=True
    ),
    "dpo, an adapter trained on": Case(
        {"method": "dpo", "max_steps": 5, "use_lora": True, "lora_config": {"adapter": "continue"}},
        (1, 3),
        model="job:origin",
        dataset="pairs.jsonl",
    ),
    "a new adapter on a merged one": Case(
        {"max_steps": 5, "use_lora": True, "lora_config": {"r": 2, "adapter": "new"}},
        (1, 3),
        model="job:origin",
        slow=True,
    ),
    "simpo with lora": Case(
        {"method": "simpo", "max_steps": 5, **LORA}, (1, 3), dataset="pairs.jsonl"
    ),
    "kto, accumulated, with evals": Case(
        {
            "method": "kto",
            "max_steps": 5,
            "gradient_accumulation_steps": 2,
            "eval_strategy": "steps",
            "eval_steps": 2,
        },
        (1, 3),
        dataset="marked.jsonl",
        data={"eval_split": 0.2},
    ),
    "reward_model with lora": Case(
        {"method": "reward_model", "max_steps": 5, **LORA}, (1, 3), dataset="pairs.jsonl"
    ),
    # 8 prompts of 2 answers in steps of 4 rows are 4 steps an epoch: the pauses lie in two.
    "rlhf, in the second epoch": Case(
        {"method": "rlhf", "max_steps": 7, "rlhf": {"reward_functions": ["brevity"], **ANSWERS}},
        (3, 5),
        data={"max_samples": 8},
    ),
    # 15 conversations, 8 texts and 30 prompts twice: of several shapes, drawn and repeated.
    "several data sets, with evals": Case(
        {"max_steps": 7, "eval_strategy": "steps", "eval_steps": 3, "group_by_length": True},
        (2, 4),
        data={"eval_split": 0.1},
        datasets=(
            {"path": "sums.jsonl", "weight": 0.5},
            {"path": "play.txt", "samples": 8},
            {"path": "asked.jsonl", "weight": 2.3},
        ),
    ),
    "several data sets, packed": Case(
        {"max_steps": 8, "packing": True, "max_length": 64, "batch_size": 2},
        (2, 5),
        datasets=({"path": "sums.jsonl"}, {"path": "asked.jsonl", "samples": 40}),
    ),
    "dpo on two data sets": Case(
        {"method": "dpo", "max_steps": 6},
        (1, 4),
        datasets=({"path": "pairs.jsonl", "weight": 1.5}, {"path": "more.jsonl", "samples": 7}),
    ),
    "rlhf with lora, accumulated": Case(
        {
            "method": "rlhf",
            "max_steps": 4,
            "gradient_accumulation_steps": 2,
            "rlhf": {"algorithm": "grpo", "reward_functions": ["brevity"], **ANSWERS},
            **LORA,
        },
        (1, 3),
        slow=True,
    ),
    "group by length, second epoch": Case(
        {"max_steps": 13, "group_by_length": True, "batch_size": 6}, (7, 8), model="tiny"
    ),
    "scheduler with warmup": Case(
        {"max_steps": 6, "warmup_steps": 3, "lr_scheduler_type": "cosine", "optim": "adafactor"},
        (2, 4),
    ),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, models: Path, preloaded: Preloaded) -> Path:
    """A home with the data sets, and an adapter to go on from."""
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "sums.jsonl", SUMS)
    write_jsonl(home / "datasets" / "pairs.jsonl", PREFERENCES)
    more = [{**row, "prompt": f"Well, {row['prompt']}"} for row in PREFERENCES]
    write_jsonl(home / "datasets" / "more.jsonl", more)
    asked = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in more]
    write_jsonl(home / "datasets" / "asked.jsonl", asked)
    write_jsonl(
        home / "datasets" / "marked.jsonl",
        [
            {"prompt": row["prompt"], "completion": row["rejected"], "label": n % 3 > 0}
            for n, row in enumerate(PREFERENCES)
        ],
    )
    (home / "datasets" / "play.txt").write_text("\n\n".join(row["question"] for row in SUMS))
    origin = request("origin", Case({"max_steps": 2, **LORA}, ()))
    run_training(home, origin, models=models, preloaded=preloaded)
    return home


def request(job_id: str, case: Case) -> dict[str, Any]:
    settings = {"batch_size": 4, "learning_rate": 0.01, "logging_steps": 2, "save_steps": 100}
    return {
        "execution_id": job_id,
        **({"datasets": case.datasets} if case.datasets else {"dataset_path": case.dataset}),
        "config": {
            "model": {"name": case.model},
            "training": {**settings, **case.training},
            "data": case.data,
            "tokenizer": case.tokenizer,
        },
    }


def weights(run: Run) -> dict[str, str]:
    folder = run.job_dir / "model"
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.safetensors"))
    }


def numbers(*runs: Run) -> list[tuple[Any, ...]]:
    return [
        (m.step, m.epoch, m.train_loss, m.eval_loss, m.learning_rate, m.grad_norm)
        for run in runs
        for m in run.of(Metric)
    ]


@pytest.mark.parametrize(
    ("how", "name"),
    [
        pytest.param(how, name, marks=[pytest.mark.slow] if case.slow or alone else [])
        for name, case in CASES.items()
        for how, alone in (("cold, warm", False), ("cold, cold", True), ("warm, warm", True))
    ],
)
def test_a_pause_changes_no_bit_and_no_number(
    name: str, how: str, models: Path, home: Path, preloaded: Preloaded
) -> None:
    """Each resume in a process of its own, or in the parked one, which goes on."""
    case, warm = CASES[name], [one == "warm" for one in how.split(", ")]
    job_id = "".join(c if c.isalnum() else "-" for c in f"{name}-{how}")
    reference = whole(name, models, home, preloaded)
    runs: list[Run] = []
    with contextlib.ExitStack() as parked:
        parking = None
        for attempt in range(1, len(case.pauses) + 2):
            here, parks = [False, *warm][attempt - 1], [*warm, False][attempt - 1]
            if not here:
                parking = parked.enter_context(Parking()) if parks else None
            run = run_training(
                home,
                request(job_id, case),
                models=models,
                attempt=attempt,
                preloaded=preloaded,
                parking=parking,
                pause_at=case.pauses[attempt - 1 :],
            )
            runs.append(run)
            if attempt <= len(case.pauses):
                assert run.outcome.outcome == "paused", run.log
                assert run.outcome.result["step"] == case.pauses[attempt - 1]
                assert run.is_parked == parks
    assert runs[-1].outcome.outcome == "completed", runs[-1].log
    assert numbers(*runs) == numbers(reference)
    assert weights(runs[-1]) == weights(reference)
    assert len(weights(reference)) == 1
    check_receipts(runs, warm)


def check_receipts(runs: list[Run], warm: list[bool]) -> None:
    for (before, after), in_place in zip(itertools.pairwise(runs), warm, strict=True):
        left, found = before.of(Receipt)[-1], after.of(Receipt)[0]
        assert (left.when, found.when, found.warm) == ("paused", "resumed", in_place)
        assert left == found.model_copy(update={"when": "paused", "warm": False})
        assert "Receipt, resumed" in after.log


_WHOLE: dict[str, Run] = {}


def whole(name: str, models: Path, home: Path, preloaded: Preloaded) -> Run:
    """The same without a pause, run once for all ways to pause it."""
    if name not in _WHOLE:
        case, job_id = CASES[name], "".join(c if c.isalnum() else "-" for c in name)
        run = run_training(home, request(job_id, case), models=models, preloaded=preloaded)
        assert run.outcome.outcome == "completed", run.log
        _WHOLE[name] = run
    return _WHOLE[name]


@pytest.mark.parametrize(
    ("training", "data"),
    [
        # 8 steps an epoch: the end lies in the middle of one.
        pytest.param({"max_steps": 6, "save_steps": 3}, {}, id="its last step"),
        pytest.param(
            {
                **{"max_steps": 60, "learning_rate": 0.3, "early_stopping_patience": 1},
                **{"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2},
            },
            {"eval_split": 0.2},
            id="early stopping",
        ),
    ],
)
def test_a_training_that_had_ended_makes_no_step_more(
    training: dict[str, Any],
    data: dict[str, Any],
    models: Path,
    home: Path,
    preloaded: Preloaded,
) -> None:
    """It was lost after its last checkpoint, and before anybody had written that it is done."""
    job = request(f"ended-{len(data)}", Case(training, (), data=data))
    first = run_training(home, job, models=models, preloaded=preloaded)
    assert first.outcome.outcome == "completed", first.log
    trained = weights(first)
    (first.job_dir / "model").rename(first.job_dir / "of-the-first")
    second = run_training(home, job, models=models, preloaded=preloaded, attempt=2)
    assert second.outcome.outcome == "completed", second.log
    assert second.outcome.result["steps"] == first.outcome.result["steps"] < 60
    assert weights(second) == trained
    assert numbers(second) in ([], numbers(first)[-1:])
