"""Plans drawn by chance, over all methods: however a training is paused, the same bits come out."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.tasks.test_exact_resume import (
    ANSWERS,
    LORA,
    PREFERENCES,
    SUMS,
    numbers,
    weights,
)
from tests.support.training import Parking, Preloaded, Run, run_training, write_jsonl
from trainyard.contract.methods import METHODS

PLANS = 200
WARM_THEN_COLD = 23
"""The seed of a short plan."""
DATASETS = {"documents": "play.txt", "pairs": "pairs.jsonl", "labelled": "labelled.jsonl"}
"""By the kind of rows that a method learns from; else ``sums.jsonl``."""


@dataclass(frozen=True)
class Plan:
    """What is trained; after which steps it is paused, and whether it goes on in its process."""

    training: dict[str, Any]
    data: dict[str, Any]
    pauses: tuple[int, ...]
    warm: tuple[bool, ...]
    seed: int

    @classmethod
    def drawn(cls, method: str, seed: int) -> Plan:
        rng = random.Random(seed)
        steps = rng.randint(4, 9)
        training = {"method": method, "max_steps": steps, "learning_rate": 0.01}
        training |= {
            "batch_size": rng.choice([2, 4])
            if METHODS[method].samples_answers
            else rng.randint(2, 6),
            "gradient_accumulation_steps": rng.choice([1, 1, 2, 3]),
            "logging_steps": rng.randint(1, 3),
            "save_steps": rng.choice([2, 3, 100]),
            "save_total_limit": rng.randint(1, 3),
            "lr_scheduler_type": rng.choice(["linear", "cosine", "constant"]),
            "warmup_steps": rng.choice([0, 0, 2]),
            "optim": rng.choice(["adamw_torch", "adamw_torch", "adafactor", "sgd"]),
            "dataloader_num_workers": rng.choice([0, 0, 0, 1]),
            "seed": rng.randint(1, 1000),
        }
        data: dict[str, Any] = {}
        if rng.random() < 0.4:
            training |= LORA
        if not METHODS[method].samples_answers and rng.random() < 0.4:
            data = {"eval_split": 0.2}
            training |= {"eval_strategy": "steps", "eval_steps": rng.randint(1, 4)}
        training |= cls._of_method(method, rng)
        pauses = sorted(rng.sample(range(1, steps), rng.randint(1, 3)))
        return cls(training, data, tuple(pauses), tuple(rng.random() < 0.5 for _ in pauses), seed)

    @staticmethod
    def _of_method(method: str, rng: random.Random) -> dict[str, Any]:
        match method:
            case "sft" if rng.random() < 0.3:
                return {"packing": True, "max_length": 64}
            case "sft" if rng.random() < 0.3:
                return {"group_by_length": True}
            case "cpt":
                return {"max_length": 32}
            case "dpo" | "orpo" | "simpo" | "kto":
                return {"beta": rng.choice([0.1, 0.5])}
            case "rlhf" | "grpo":
                chosen = {"algorithm": rng.choice(["grpo", "rloo"])} if method == "rlhf" else {}
                return {"rlhf": {"reward_functions": ["brevity"], **chosen, **ANSWERS}}
        return {}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the data sets."""
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "sums.jsonl", SUMS)
    write_jsonl(home / "datasets" / "pairs.jsonl", PREFERENCES)
    labelled = [
        {"prompt": row["prompt"], "completion": row[name], "label": name == "chosen"}
        for row in PREFERENCES
        for name in ("chosen", "rejected")
    ]
    write_jsonl(home / "datasets" / "labelled.jsonl", labelled)
    (home / "datasets" / "play.txt").write_text("\n\n".join(row["question"] for row in SUMS))
    return home


def request(job_id: str, plan: Plan) -> dict[str, Any]:
    dataset = DATASETS.get(METHODS[plan.training["method"]].rows, "sums.jsonl")
    config = {"model": {"name": "dropout"}, "training": plan.training, "data": plan.data}
    return {"execution_id": job_id, "dataset_path": dataset, "config": config}


def carry_out(plan: Plan, home: Path, models: Path, preloaded: Preloaded) -> list[Run]:
    """The runs of a plan, each but the first a resume."""
    runs: list[Run] = []
    parking = Parking()
    try:
        for number in range(len(plan.pauses) + 1):
            if number and not plan.warm[number - 1]:
                parking.__exit__()
                parking = Parking()
            run = run_training(
                home,
                request(f"plan-{plan.seed}", plan),
                models=models,
                attempt=number + 1,
                preloaded=preloaded,
                parking=parking,
                pause_at=plan.pauses[number:],
            )
            runs.append(run)
            if number < len(plan.pauses):
                assert run.outcome.outcome == "paused", run.log
                assert run.outcome.result["step"] == plan.pauses[number]
    finally:
        parking.__exit__()
        preloaded.end()
    assert runs[-1].outcome.outcome == "completed", runs[-1].log
    return runs


def check_exact(method: str, seed: int, home: Path, models: Path, preloaded: Preloaded) -> Plan:
    """Fails with the plan if a bit of the weights, or a number that was reported, differs."""
    plan = Plan.drawn(method, seed)
    try:
        whole = run_training(
            home, request(f"whole-{seed}", plan), models=models, preloaded=preloaded
        )
        assert whole.outcome.outcome == "completed", whole.log
        runs = carry_out(plan, home, models, preloaded)
        assert numbers(*runs) == numbers(whole)
        assert weights(runs[-1]) == weights(whole)
        assert weights(whole)
    except AssertionError as error:
        raise AssertionError(f"{plan}: {error}") from error
    shutil.rmtree(home / "jobs")
    return plan


def test_a_plan_that_goes_on_in_its_process_and_then_in_another(
    home: Path, models: Path, preloaded: Preloaded
) -> None:
    plan = check_exact("sft", WARM_THEN_COLD, home, models, preloaded)
    assert plan.warm == (True, False)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_two_hundred_plans(home: Path, models: Path, preloaded: Preloaded) -> None:
    first = int(os.environ.get("PLANS_SEED", time.time()))
    print(f"PLANS_SEED={first}", flush=True)
    tally: Counter[str] = Counter()
    for number in range(int(os.environ.get("PLANS", PLANS))):
        method = list(METHODS)[number % len(METHODS)]
        plan = check_exact(method, first + number, home, models, preloaded)
        tally[method] += 1
        tally["pauses"] += len(plan.pauses)
        tally["warm"] += sum(plan.warm)
    print(dict(tally))
