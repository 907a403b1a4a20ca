"""Kahneman-Tversky optimisation (``kto``; Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8).

A row is an answer y to a prompt x, and whether it is good. With p the model, r the frozen
reference, l = log p(y|x) / r(y|x) summed over the answer's tokens, and s the logistic function:

    loss = mean over rows of  w+ (1 - s(beta (l - z)))   of a good answer
                              w- (1 - s(beta (z - l)))   of a bad one
    z    = max(0, mean of log p(y'|x) / r(y'|x)),  y' the answer of another row, without a gradient

w+ and w- are ``desirable_weight`` and ``undesirable_weight``. The paper (and TRL) takes z over a
micro-batch, so that the loss would depend on how rows fall into batches. Here it is the mean over
all rows of a step, in all micro-batches and processes, and in an eval over the whole eval set; y'
is the answer of a row so far away that the two rows of a pair do not meet, whether they are
neighbours or all good rows stand before all bad ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets
import torch
from trl import KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference
from trl.trainer.utils import add_fused_lm_head

from tasks.methods.counting.answers import AnswersTrainer
from tasks.methods.counting.eval_rows import SURPLUS
from tasks.methods.counting.trainer import Totals

_OTHERS = "KL_"
"""Before the names of what is of another row's answer, as TRL's collator has it."""

_AWAY = 0.382
"""Of the data set: no neighbour, no half and no third of it."""


def with_other_answers(rows: datasets.Dataset) -> datasets.Dataset:
    """``rows`` and, of each, the answer of another, so far away; nothing is copied."""
    away = round(_AWAY * len(rows))
    turned = [rows.select(range(away, len(rows))), rows.select(range(away))]
    others = datasets.concatenate_datasets([part for part in turned if len(part)])
    others = others.select_columns(["completion_ids"])
    named = others.rename_column("completion_ids", f"{_OTHERS}completion_ids")
    return datasets.concatenate_datasets([rows, named], axis=1)


class UnpairedTrainer(AnswersTrainer, KTOTrainer):  # type: ignore[misc]  # trl has no types
    """``rewards`` are beta l, of good rows (``chosen``) and of bad ones; ``kl`` is z."""

    counted = ("rows",)

    def __init__(self, *, train_dataset: Any, eval_dataset: Any = None, **arguments: Any) -> None:
        tokenizer, most = arguments["processing_class"], arguments["args"].max_length
        super().__init__(
            train_dataset=with_other_answers(train_dataset),
            eval_dataset=None if eval_dataset is None else with_other_answers(eval_dataset),
            data_collator=DataCollatorForUnpairedPreference(tokenizer.pad_token_id, most),
            **arguments,
        )
        base = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))
        self._z = 0.0

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """The rows come tokenised."""
        return dataset

    def count(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """Rows."""
        return (batch["input_ids"].new_full((), len(batch["input_ids"])),)

    def _get_num_items_in_batch(self, batch_samples: Sequence[Any], device: Any) -> Any:
        """Before a step's first forward: its z too."""
        if batch_samples:
            self._z = self._divergence(batch_samples)
        return super()._get_num_items_in_batch(batch_samples, device)

    def evaluation_loop(self, *arguments: Any, **more: Any) -> Any:
        """As the Trainer's, with the z of the whole eval set."""
        self._z, of_step = self._divergence(arguments[0]), self._z
        try:
            return super().evaluation_loop(*arguments, **more)
        finally:
            self._z = of_step

    def _divergence(self, batches: Iterable[Mapping[str, Any]]) -> float:
        """z over ``batches``. In eval mode: a resume restores random numbers after this."""
        found = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        mode = self.model.training
        self.model.eval()
        for batch in batches:
            if SURPLUS in batch:
                continue
            of_others = {
                name.removeprefix(_OTHERS): value
                for name, value in batch.items()
                if name.startswith(_OTHERS)
            }
            inputs = self._prepare_inputs(of_others)
            with self.compute_loss_context_manager():
                with self.without_gradients():
                    log_probs = self.score_answers(self.model, inputs).log_probs.sum(1)
                with self.reference() as reference:
                    ratios = log_probs - self.score_answers(reference, inputs).log_probs.sum(1)
            found += torch.stack([ratios.double().sum(), found.new_tensor(len(ratios))])
        self.model.train(mode)
        total, rows = map(float, self.accelerator.reduce(found, "sum"))
        return max(total / max(rows, 1.0), 0.0)

    def totals(self, model: Any, inputs: dict[str, Any]) -> Totals:
        """Sums over rows, the good and the bad ones apart."""
        scores = self.score_answers(model, inputs)
        log_probs = scores.log_probs.sum(1)
        with self.reference() as reference:
            of_reference = self.score_answers(reference, inputs).log_probs.sum(1)
        ratios = log_probs - of_reference
        good = inputs["label"]
        above = self.beta * (ratios - self._z)
        losses = torch.where(
            good,
            self.desirable_weight * (1 - above.sigmoid()),
            self.undesirable_weight * (1 - (-above).sigmoid()),
        )
        answers = inputs["completion_mask"][:, 1:]
        rewards, (rows,) = self.beta * ratios.detach(), self.count(inputs)
        totals = {
            "rows": rows,
            "row_loss": losses.sum(),
            "z": rows * self._z,
            "seen": inputs["attention_mask"].sum(),
            "answer_tokens": answers.sum(),
            "entropy": scores.entropy.sum(),
            **self.router_total(scores, rows),
        }
        for name, those in (("chosen", good), ("rejected", ~good)):
            totals[f"rows/{name}"] = those.sum()
            totals[f"rewards/{name}"] = rewards[those].sum()
            totals[f"logps/{name}"] = log_probs.detach()[those].sum()
            totals[f"tokens/{name}"] = answers[those].sum()
            totals[f"right/{name}"] = scores.is_top1[those].sum()
        return totals

    def objective(self, totals: Totals, counts: Totals) -> torch.Tensor:
        """The loss above, and the router's."""
        return self.with_router(totals["row_loss"] / counts["rows"], totals, counts["rows"])

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Means over rows, over good and bad ones, and over tokens (accuracy: the good ones')."""
        rows = max(sums["rows"], 1.0)
        figures = {
            "loss": sums["row_loss"] / rows,
            "kl": sums["z"] / rows,
            "entropy": sums["entropy"] / max(sums["answer_tokens"], 1.0),
            "mean_token_accuracy": sums["right/chosen"] / max(sums["tokens/chosen"], 1.0),
        }
        for name in ("chosen", "rejected"):
            for figure in ("rewards", "logps"):
                those = max(sums[f"rows/{name}"], 1.0)
                figures[f"{figure}/{name}"] = sums[f"{figure}/{name}"] / those
        figures["rewards/margins"] = figures["rewards/chosen"] - figures["rewards/rejected"]
        if "router" in sums:
            figures["aux_loss"] = sums["router"] / rows
        return figures
