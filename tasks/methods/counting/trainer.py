"""Trainer that counts: its losses and figures are sums divided by sums, never means of means.

A method names what its loss is a mean over (``counted``), says how much of it is in a batch
(:meth:`count`), sums up a micro-batch (:meth:`totals`) and makes the loss that is minimised
(:meth:`objective`) and the figures that are reported (:meth:`figures`) out of such sums. From that
follows, for every architecture and method:

- Accumulation is one batch: a micro-batch's loss is its sums over the count of the whole step, in
  all micro-batches and all processes. transformers counts only for models that say they take it
  into account, and TRL's preference methods not at all.
- An eval's figures are those of the eval set, whatever ``eval_batch_size`` and however many
  processes; a training's figures are those of all steps since the last logged one.

Nothing here waits for the GPU at a step: sums are read when they are logged or saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch.utils.data import SequentialSampler

from tasks.methods.counting.eval_rows import SURPLUS, FilledUp, RowsOnly
from tasks.methods.counting.sums import Sums
from tasks.methods.counting.token_scores import TokenScores, score_tokens
from tasks.methods.exact_trainer import ExactTrainer

Totals = dict[str, torch.Tensor]


class CountingTrainer(ExactTrainer):
    """Mixin for a ``transformers.Trainer`` of TRL's.

    ``plain_forward``: scores are made of the model's own logits, not by TRL's fused head.
    """

    loss_is_scaled_for_ga = True
    counted: ClassVar[tuple[str, ...]]
    plain_forward = False
    router_aux_loss_coef: float
    aux_loss_enabled: bool
    data_collator: Any

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.sums = {"train": Sums(), "eval": Sums()}

    def count(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """How much of each of ``counted`` is in a batch, before any forward."""
        raise NotImplementedError

    def totals(self, model: Any, inputs: dict[str, Any]) -> Totals:
        """Sums over a micro-batch: those of ``counted``, ``seen`` (tokens but padding) and, with
        their gradients, those that the objective is made of."""
        raise NotImplementedError

    def objective(self, totals: Totals, counts: Totals) -> torch.Tensor:
        """A micro-batch's part of the loss that is minimised, which is a mean over ``counts``."""
        raise NotImplementedError

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """What is reported of the sums over many micro-batches; ``loss`` among them."""
        raise NotImplementedError

    def score(
        self, model: Any, inputs: Mapping[str, Any], labels: torch.Tensor, *, uniform: bool = False
    ) -> TokenScores:
        """Score ``labels`` by one forward of ``model``."""
        return score_tokens(
            model,
            inputs,
            labels,
            fused=not self.plain_forward,
            router_loss=self.aux_loss_enabled,
            uniform=uniform,
        )

    def router_total(self, scores: TokenScores, of: torch.Tensor) -> Totals:
        """The router's auxiliary loss, weighted by the count ``of`` the micro-batch.

        It is no sum over tokens (Fedus et al. 2021, arXiv:2101.03961, eq. 4: a product of two
        means over the batch), so that it is the one part of a loss which a smaller micro-batch
        changes; no reported loss holds it.
        """
        return {} if scores.router_loss is None else {"router": scores.router_loss * of}

    def with_router(self, loss: torch.Tensor, totals: Totals, count: torch.Tensor) -> torch.Tensor:
        """``loss`` with the router's, weighted by the model's own coefficient."""
        if "router" not in totals:
            return loss
        return loss + self.router_aux_loss_coef * totals["router"] / count

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The micro-batch's part of the step's loss; without a count, the loss of it alone."""
        surplus = inputs.pop(SURPLUS, False)
        totals = self.totals(model, inputs)
        of_rows = {n: torch.zeros_like(total) for n, total in totals.items()} if surplus else totals
        self.sums["train" if self.model.training else "eval"].add(of_rows)
        if num_items_in_batch is None:
            return self.objective(totals, {n: totals[n].clamp(min=1) for n in self.counted})
        counts = dict(zip(self.counted, num_items_in_batch.clamp(min=1), strict=True))
        # The count is that of all processes, and the mean over them is taken of the gradients.
        processes: int = self.accelerator.num_processes
        return self.objective(totals, counts) * processes

    def train(self, *arguments: Any, **more: Any) -> Any:
        """As the Trainer's, which begins its own sums again too."""
        self.sums["train"].clear()
        return super().train(*arguments, **more)

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, None, None]:
        """Sum up one batch of an eval; there is no loss to gather of each."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            self.compute_loss(model, inputs)
        return None, None, None

    def evaluation_loop(self, *arguments: Any, metric_key_prefix: str = "eval", **more: Any) -> Any:
        """As the Trainer's, and the figures are those of the whole eval set."""
        self.sums["eval"].clear()
        output = super().evaluation_loop(*arguments, metric_key_prefix=metric_key_prefix, **more)
        figures = self.figures(self.sums["eval"].over_processes(self.accelerator))
        for name, value in figures.items():
            output.metrics[f"{metric_key_prefix}_{name}"] = value
        return output

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Each row once, in all processes together."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        processes = self.accelerator.num_processes
        if processes == 1:
            return super().get_eval_dataloader(rows)
        collate, self.data_collator = self.data_collator, RowsOnly(self.data_collator, rows[0])
        try:
            return super().get_eval_dataloader(
                FilledUp(rows, self.args.eval_batch_size * processes)
            )
        finally:
            self.data_collator = collate

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return SequentialSampler(eval_dataset)

    def _get_num_items_in_batch(
        self, batch_samples: Sequence[Mapping[str, Any]], device: torch.device
    ) -> torch.Tensor | None:
        if not batch_samples:
            return None
        counts = [torch.stack(self.count(batch)) for batch in batch_samples]
        total = torch.stack(counts).sum(0).to(device)
        several = self.accelerator.num_processes > 1
        return self.accelerator.reduce(total, "sum") if several else total

    def log(self, logs: dict[str, float], *arguments: Any, **more: Any) -> None:
        """The figures of the steps since the last logged one, in the place of the Trainer's."""
        if "loss" in logs:
            sums = self.sums["train"].over_processes(self.accelerator)
            self.sums["train"].clear()
            self._total_train_tokens += int(sums["seen"])
            logs.update(self.figures(sums), num_tokens=self._total_train_tokens)
        super().log(logs, *arguments, **more)

    def trained_tokens(self) -> int:
        """Tokens but padding that were trained on since the job's start, over all processes."""
        since_log = self.sums["train"].over_processes(self.accelerator)
        return int(self._total_train_tokens) + int(since_log.get("seen", 0))

    def open_sums(self) -> dict[str, float]:
        """This process's sums since the last logged step."""
        return self.sums["train"].read()

    def put_back_sums(self, sums: Mapping[str, float]) -> None:
        """Go on from what ``open_sums`` gave.

        A checkpoint of a version that did not count has TRL's means of its micro-batches instead:
        its log would put those in the place of the figures.
        """
        self._metrics["train"].clear()
        self.sums["train"].put_back(sums, self.args.device)
