"""RLHF, the method ``rlhf``: answers of the model's own are rewarded.

RLOO (Ahmadian et al. 2024, arXiv:2402.14740, eq. 6) and GRPO (Shao et al. 2024, arXiv:2402.03300,
eq. 3; as of DAPO, Yu et al. 2025, arXiv:2503.14476, eq. 8, a mean over the tokens of all answers).

A step's answers are sampled together and then cut into micro-batches of as many answers each, so
that TRL's losses, a mean over sequences (RLOO) or over the tokens of the whole step (GRPO), do not
depend on accumulation. The figures of an eval are means over its answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from trl import GRPOTrainer, RLOOTrainer
from trl.trainer.utils import RepeatSampler

from tasks.methods.exact_trainer import ExactTrainer


class RepeatedPrompts(RepeatSampler):  # type: ignore[misc]  # trl has no types
    """TRL's order of prompts, each repeated for its answers, but by nothing but seed and epoch.

    TRL's own sampler draws each epoch's order from a generator that a resume has no state of.
    """

    _epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch`` (from 0) for the next iteration."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed + self._epoch)
        yield from super().__iter__()


def weighted_mean(values: Sequence[float], weights: Sequence[int]) -> float:
    """Mean of what is a number; a reward that is given to no answer of a batch is NaN."""
    known = [(v, w) for v, w in zip(values, weights, strict=True) if not math.isnan(v)]
    return sum(v * w for v, w in known) / sum(w for _, w in known) if known else math.nan


class _Online(ExactTrainer):
    """What both trainers have in common. A step's answers are generated within that step, so that
    nothing generated outlives a checkpoint."""

    @property
    def _total_train_tokens(self) -> int:
        """Tokens of prompts and answers; TRL keeps them in the Trainer's state."""
        return int(self.state.num_input_tokens_seen)

    @_total_train_tokens.setter
    def _total_train_tokens(self, _: int) -> None:
        """The state brings them back at a resume."""

    def prediction_step(self, model: Any, inputs: Any, *arguments: Any, **more: Any) -> Any:
        """As TRL's, which also samples the answers to a batch; notes how many there are."""
        loss, *_ = super().prediction_step(model, inputs, *arguments, **more)
        self._eval_answers.append(len(inputs))
        # Of all processes, which have batches of the same size.
        self._metrics["eval"]["loss"].append(self.accelerator.gather(loss).mean().item())
        return None, None, None

    def evaluation_loop(self, *arguments: Any, metric_key_prefix: str = "eval", **more: Any) -> Any:
        """As the Trainer's, and its batches count by their answers."""
        self._eval_answers: list[int] = []
        output = super().evaluation_loop(*arguments, metric_key_prefix=metric_key_prefix, **more)
        for name, values in self._metrics["eval"].items():
            if len(values) == len(self._eval_answers):
                self._metrics["eval"][name] = [weighted_mean(values, self._eval_answers)]
        [loss] = self._metrics["eval"].pop("loss")
        output.metrics[f"{metric_key_prefix}_loss"] = loss
        return output

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        arguments = self.args
        return RepeatedPrompts(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=arguments.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * arguments.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=arguments.seed,
        )


class LeaveOneOutTrainer(_Online, RLOOTrainer):  # type: ignore[misc]  # trl has no types
    """REINFORCE with the other answers' mean reward as baseline."""


class GroupRelativeTrainer(_Online, GRPOTrainer):  # type: ignore[misc]  # trl has no types
    """Rewards relative to the group of answers to the same prompt."""
