"""RLHF, the method ``rlhf``: answers of the model's own are rewarded.

RLOO (Ahmadian et al. 2024, arXiv:2402.14740) and GRPO (Shao et al. 2024, arXiv:2402.03300).
"""

from __future__ import annotations

from collections.abc import Iterator
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
