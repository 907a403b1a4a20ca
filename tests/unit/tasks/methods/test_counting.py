"""Losses, gradients and figures are what plain torch computes, however the rows are batched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.support.plain_losses import (
    LABELLED,
    PAIRS,
    ROWS,
    answers,
    by_hand,
    first_log,
    log_probs,
    nll,
)
from tests.support.tiny_trainers import tiny, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # within trl

BETA = 0.1


def dpo(model: Any) -> torch.Tensor:
    with torch.no_grad():
        reference = tiny(model.config.model_type, seed=1)
        known = [[a.sum() for a in answers(reference, name)] for name in ("chosen", "rejected")]
    margins = [
        (chosen.sum() - of_chosen) - (rejected.sum() - of_rejected)
        for chosen, rejected, of_chosen, of_rejected in zip(
            answers(model, "chosen"), answers(model, "rejected"), *known, strict=True
        )
    ]
    return -functional.logsigmoid(BETA * torch.stack(margins)).mean()


def orpo(model: Any) -> torch.Tensor:
    chosen, rejected = answers(model, "chosen"), answers(model, "rejected")

    def log_odds(rows: list[torch.Tensor]) -> torch.Tensor:
        mean = torch.stack([row.mean() for row in rows])
        return mean - torch.log(1 - mean.exp())

    ratio = functional.logsigmoid(log_odds(chosen) - log_odds(rejected))
    return -torch.cat(chosen).mean() - BETA * ratio.mean()


def simpo(model: Any) -> torch.Tensor:
    chosen, rejected = (
        torch.stack([BETA * row.sum() / len(row) for row in answers(model, name)])
        for name in ("chosen", "rejected")
    )
    return -functional.logsigmoid(chosen - rejected - 0.5).mean()


def kto(model: Any) -> torch.Tensor:
    """With the mean over all rows of the step for z, each with the answer of the fifth next."""
    reference = tiny(model.config.model_type, seed=1)

    def ratio(prompt: list[int], answer: list[int]) -> torch.Tensor:
        row = prompt + answer, [-100] * len(prompt) + answer
        with torch.no_grad():
            known = log_probs(reference, *row).sum()
        return log_probs(model, *row).sum() - known

    with torch.no_grad():
        others = [*LABELLED[5:], *LABELLED[:5]]
        z = torch.stack(
            [
                ratio(row["prompt_ids"], other["completion_ids"])
                for row, other in zip(LABELLED, others, strict=True)
            ]
        ).mean()
    losses = []
    for row in LABELLED:
        above = BETA * (ratio(row["prompt_ids"], row["completion_ids"]) - z.clamp(min=0))
        losses.append(1 - torch.sigmoid(above) if row["label"] else 1 - torch.sigmoid(-above))
    return torch.stack(losses).mean()


METHODS: dict[str, tuple[list[dict[str, Any]], Callable[[Any], torch.Tensor]]] = {
    "sft": (ROWS, nll),
    "dpo": (PAIRS, dpo),
    "orpo": (PAIRS, orpo),
    "simpo": (PAIRS, simpo),
    "kto": (LABELLED, kto),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["llama", "gemma4_text"])
def test_accumulation_is_one_batch(method: str, architecture: str, tiny_model: Path) -> None:
    rows, loss_of = METHODS[method]
    loss, norm = by_hand(loss_of, tiny(architecture))
    # The last of them leaves a micro-batch of two rows.
    for batch, accumulation in ((2, 7), (4, 4)):
        made = trainer(
            method,
            tiny(architecture),
            rows,
            tiny_model,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
        )
        logged = first_log(made)
        assert logged["loss"] == pytest.approx(loss, rel=2e-5), (batch, accumulation)
        assert logged["grad_norm"] == pytest.approx(norm, rel=2e-4), (batch, accumulation)


@pytest.mark.parametrize("method", METHODS)
def test_an_eval_is_a_mean_over_the_eval_set(method: str, tiny_model: Path) -> None:
    rows, loss_of = METHODS[method]
    with torch.no_grad():
        loss = loss_of(tiny("llama")).item()
    made = trainer(method, tiny("llama"), rows, tiny_model)
    for batch in (1, 4, 14):
        made.args.per_device_eval_batch_size = batch
        assert made.evaluate()["eval_loss"] == pytest.approx(loss, rel=1e-5), batch


def test_other_figures_are_means_over_tokens_too(tiny_model: Path) -> None:
    model = tiny("llama")
    with torch.no_grad():
        right = [
            (model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1].argmax(-1))
            == torch.tensor(row["labels"][1:])
            for row in ROWS
        ]
    learnt = sum(label != -100 for row in ROWS for label in row["labels"][1:])
    made = trainer("sft", model, ROWS, tiny_model, per_device_eval_batch_size=3)
    found = made.evaluate()["eval_mean_token_accuracy"]
    assert found == pytest.approx(float(torch.cat(right).sum()) / learnt)


def test_a_logged_loss_is_that_of_the_tokens_since_the_last_one(tiny_model: Path) -> None:
    """Steps of four, four, four and two rows: the mean of their losses would be another number."""
    made = trainer(
        "sft",
        tiny("llama"),
        ROWS,
        tiny_model,
        per_device_train_batch_size=4,
        learning_rate=0.0,
        logging_steps=4,
    )
    # What was tried before the training is no part of it.
    made.compute_loss(made.model.train(), made.data_collator(ROWS[:2]))
    logged = first_log(made)
    with torch.no_grad():
        assert logged["loss"] == pytest.approx(nll(tiny("llama")).item(), rel=1e-5)
    assert logged["num_tokens"] == sum(len(row["input_ids"]) for row in ROWS)


def test_means_in_an_older_checkpoint_take_no_figures_place(tiny_model: Path) -> None:
    made = trainer("sft", tiny("llama"), ROWS, tiny_model)
    made._metrics["train"].update(num_tokens=[6491.0], entropy=[99.0])
    made.put_back_sums({})
    logged = first_log(made)
    assert 0 < logged["num_tokens"] < 6491
    assert 0 < logged["entropy"] < 99


@pytest.mark.parametrize("method", METHODS)
def test_a_routers_loss_is_a_figure_of_its_own(method: str, tiny_model: Path) -> None:
    """It is minimised too, but the loss, and so the perplexity, is without it."""
    rows, loss_of = METHODS[method]
    with torch.no_grad():
        loss = loss_of(tiny("gpt_oss")).item()

    def logged(**changes: Any) -> dict[str, float]:
        made = trainer(
            method, tiny("gpt_oss", **changes), rows, tiny_model, per_device_train_batch_size=14
        )
        if not changes:
            evaluated = made.evaluate()
            assert evaluated["eval_loss"] == pytest.approx(loss, rel=2e-5)
            assert evaluated["eval_aux_loss"] > 1
        return first_log(made)

    with_router, without = logged(), logged(router_aux_loss_coef=0.0)
    assert with_router["loss"] == pytest.approx(loss, rel=2e-5)
    assert without["loss"] == pytest.approx(loss, rel=2e-5)
    assert with_router["aux_loss"] > 1
    assert "aux_loss" not in without
    assert with_router["grad_norm"] != pytest.approx(without["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_models_own_forward_gives_the_same(method: str, tiny_model: Path) -> None:
    rows, loss_of = METHODS[method]
    loss, norm = by_hand(loss_of, tiny("llama"))
    made = trainer(
        method,
        tiny("llama"),
        rows,
        tiny_model,
        per_device_train_batch_size=7,
        gradient_accumulation_steps=2,
    )
    made.plain_forward = True
    logged = first_log(made)
    assert logged["loss"] == pytest.approx(loss, rel=2e-5)
    assert logged["grad_norm"] == pytest.approx(norm, rel=2e-4)


def test_label_smoothing_is_minimised_and_not_reported(tiny_model: Path) -> None:
    def smoothed(model: Any) -> torch.Tensor:
        losses = []
        for row in ROWS:
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
            targets = torch.tensor(row["labels"][1:])
            known = targets != -100
            losses.append(
                functional.cross_entropy(
                    logits[known], targets[known], label_smoothing=0.2, reduction="none"
                )
            )
        return torch.cat(losses).mean()

    _, norm = by_hand(smoothed, tiny("llama"))
    made = trainer(
        "sft",
        tiny("llama"),
        ROWS,
        tiny_model,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        label_smoothing_factor=0.2,
    )
    with torch.no_grad():
        loss = nll(tiny("llama")).item()
    assert made.evaluate()["eval_loss"] == pytest.approx(loss, rel=2e-5)
    logged = first_log(made)
    assert logged["loss"] == pytest.approx(loss, rel=2e-5)
    assert logged["grad_norm"] == pytest.approx(norm, rel=2e-4)
