"""Mutations of the numbers: each fault of arithmetic is put back, and a test turns red."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.methods.counting.trainer import CountingTrainer
from tasks.methods.orpo import OddsRatioTrainer
from tasks.methods.supervised import SupervisedTrainer
from tests.support.mutation import Mutation
from tests.unit.tasks.arguments import test_build
from tests.unit.tasks.callbacks import test_best_keeper
from tests.unit.tasks.checkpoints import test_loss_sums
from tests.unit.tasks.methods import test_counting, test_eval_rows
from tests.unit.tasks.results import test_saved
from tests.unit.trainyard.contract import test_rules

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # within trl

_SUPERVISED_TOTALS, _ODDS_TOTALS = SupervisedTrainer.totals, OddsRatioTrainer.totals
_SUPERVISED_FIGURES = SupervisedTrainer.figures


def nothing(*_: Any, **__: Any) -> None:
    """In the place of what is done."""


def means(trainer: Any, model: Any, inputs: Any) -> Any:
    """Of a micro-batch, as if each had as many tokens as the others."""
    totals = _SUPERVISED_TOTALS(trainer, model, inputs)
    return {name: total / totals["tokens"] for name, total in totals.items()}


def with_prompts(trainer: Any, model: Any, inputs: Any) -> Any:
    return _ODDS_TOTALS(trainer, model, {**inputs, "completion_mask": inputs["attention_mask"]})


def with_routers(trainer: Any, sums: Any) -> Any:
    figures = _SUPERVISED_FIGURES(trainer, sums)
    figures["loss"] += trainer.router_aux_loss_coef * figures.get("aux_loss", 0.0)
    return figures


def of_steps(trainer: Any, logs: Any, *arguments: Any) -> None:
    """The Trainer's own: the mean of the steps' losses."""
    super(CountingTrainer, trainer).log(logs, *arguments)


def of_each_batch(trainer: Any, totals: Any, _: Any) -> Any:
    """The mean of the micro-batches' losses, each over its own tokens."""
    nll = totals["nll"] / totals["chosen_tokens"]
    odds = trainer.beta * totals["log_odds_ratio"] / totals["pairs"]
    return (nll - odds) / trainer.current_gradient_accumulation_steps


MUTATIONS = {
    "an eval is a mean of batch means": Mutation(
        "tasks.methods.supervised.SupervisedTrainer.totals",
        means,
        test_counting.test_an_eval_is_a_mean_over_the_eval_set,
        {"method": "sft"},
    ),
    "a logged loss is a mean of steps": Mutation(
        "tasks.methods.counting.trainer.CountingTrainer.log",
        of_steps,
        test_counting.test_a_logged_loss_is_that_of_the_tokens_since_the_last_one,
    ),
    "tokens are not counted for what does not ask for it": Mutation(
        "tasks.methods.counting.trainer.CountingTrainer._get_num_items_in_batch",
        nothing,
        test_counting.test_accumulation_is_one_batch,
        {"method": "sft", "architecture": "gemma4_text"},
    ),
    "ORPO's tokens are not counted over a step": Mutation(
        "tasks.methods.orpo.OddsRatioTrainer.objective",
        of_each_batch,
        test_counting.test_accumulation_is_one_batch,
        {"method": "orpo", "architecture": "llama"},
    ),
    "ORPO trains on prompts": Mutation(
        "tasks.methods.orpo.OddsRatioTrainer.totals",
        with_prompts,
        test_counting.test_an_eval_is_a_mean_over_the_eval_set,
        {"method": "orpo"},
    ),
    "a router's loss is in the loss, and so in the perplexity": Mutation(
        "tasks.methods.supervised.SupervisedTrainer.figures",
        with_routers,
        test_counting.test_a_routers_loss_is_a_figure_of_its_own,
        {"method": "sft"},
    ),
    "a router's loss is not minimised": Mutation(
        "tasks.methods.counting.trainer.CountingTrainer.with_router",
        lambda _, loss, *__: loss,
        test_counting.test_a_routers_loss_is_a_figure_of_its_own,
        {"method": "sft"},
    ),
    "sums since the last log are left out of a checkpoint": Mutation(
        "tasks.methods.counting.sums.Sums.put_back",
        nothing,
        test_loss_sums.test_a_resume_goes_on_to_the_bit,
    ),
    "rows are evaluated twice in several processes": Mutation(
        "tasks.methods.counting.eval_rows.FilledUp.__getitem__",
        lambda filled, index: filled._dataset[index % len(filled._dataset)],
        test_eval_rows.test_every_row_is_in_one_batch,
        {"count": 7, "batch": 2, "processes": 2},
    ),
    "the best checkpoint is a stale one": Mutation(
        "tasks.callbacks.best_keeper.BestKeeper.on_evaluate",
        nothing,
        test_best_keeper.test_the_best_so_far_is_written,
        {"values": [9, 5, 6, 4], "greater": False, "steps": [10, 30]},
    ),
    "a last state that is the best is thrown away": Mutation(
        "tasks.results.saved._at_least_as_good",
        lambda *_: False,
        test_saved.test_it_is_the_best,
        {"evals": {10: 3.0, 20: 2.0, 30: 1.0}, "kept": (10, 20), "step": 30, "loaded": []},
    ),
    "another loss is asked for and ignored": Mutation(
        "trainyard.contract.rules._loss",
        lambda _: (),
        test_rules.test_what_would_train_another_model_is_refused_not_ignored,
        {
            "config": {"training": {"loss_type": "ipo"}},
            "path": "training.loss_type",
            "said": "the loss of sft is its own",
        },
    ),
    "a setting without effect is not said": Mutation(
        "tasks.arguments.build._why_not",
        lambda *_: "",
        test_build.test_evals_that_are_switched_off_are_none,
    ),
}
"""By the fault that is put back."""


@pytest.mark.parametrize("fault", MUTATIONS)
def test_a_fault_that_is_put_back_turns_a_test_red(
    fault: str,
    tiny_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fixtures: dict[str, Callable[[], Any]] = {
        "tiny_model": lambda: tiny_model,
        "tmp_path": lambda: tmp_path,
        "caplog": lambda: caplog,
        "monkeypatch": lambda: monkeypatch,
    }
    MUTATIONS[fault].turns_red(monkeypatch, fixtures)
