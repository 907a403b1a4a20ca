"""Tokenised rows, and what plain torch makes of them: each row on its own, without a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch


def _ids(start: int, count: int) -> list[int]:
    return [2 + (7 * start + 5 * n * n + n) % 60 for n in range(count)]


# Prompts and answers of very different lengths, as rows have them.
ROWS = [
    {
        "input_ids": _ids(n, 3 + n % 4) + _ids(n + 40, answer),
        "labels": [-100] * (3 + n % 4) + _ids(n + 40, answer),
    }
    for n, answer in enumerate([1, 9, 2, 14, 1, 1, 20, 3, 1, 7, 2, 12, 1, 5])
]
PAIRS = [
    {
        "prompt_ids": _ids(n, 2 + n % 3),
        "chosen_ids": _ids(n + 20, 1 + 3 * (n % 4)),
        "rejected_ids": _ids(n + 30, 1 + 2 * (n % 5)),
    }
    for n in range(14)
]

LABELLED = [
    {"prompt_ids": pair["prompt_ids"], "completion_ids": pair["chosen_ids"], "label": n % 3 > 0}
    for n, pair in enumerate(PAIRS)
]


def log_probs(model: Any, ids: list[int], labels: list[int]) -> torch.Tensor:
    """Of the labels of one row, each on its own: no batch, no padding, no mask."""
    found = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    targets = torch.tensor(labels[1:])
    of_targets = found[torch.arange(len(targets)), targets.clamp(min=0)]
    return of_targets[targets != -100]


def nll(model: Any, rows: list[dict[str, Any]] = ROWS) -> torch.Tensor:
    found = torch.cat([log_probs(model, row["input_ids"], row["labels"]) for row in rows])
    return -found.mean()


def answers(model: Any, name: str) -> list[torch.Tensor]:
    return [
        log_probs(
            model,
            pair["prompt_ids"] + pair[f"{name}_ids"],
            [-100] * len(pair["prompt_ids"]) + pair[f"{name}_ids"],
        )
        for pair in PAIRS
    ]


def by_hand(loss_of: Callable[[Any], torch.Tensor], model: Any) -> tuple[float, float]:
    """The loss and the norm of its gradient."""
    loss = loss_of(model)
    weights = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients if g is not None))
    return loss.item(), norm


def first_log(trainer: Any) -> dict[str, float]:
    trainer.train()
    found: dict[str, float] = next(e for e in trainer.state.log_history if "loss" in e)
    return found
