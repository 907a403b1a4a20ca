"""A method's own figures, one line of the job's log each time that the Trainer logs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

_SAID = {
    "rewards/accuracies": "chosen preferred",
    "rewards/margins": "margin",
    "reward": "reward",
    "reward_std": "its deviation",
    "kl": "KL",
    "completions/mean_length": "tokens an answer",
}
"""TRL's name of a figure → ours."""

logger = logging.getLogger(__name__)


class MethodFigures(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Says how often the chosen answer is preferred (dpo, orpo), or what answers earn (rlhf)."""

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Log the figures that there are."""
        for prefix, when in (("", ""), ("eval_", "eval ")):
            figures = [
                f"{said} {logs[prefix + name]:.4g}"
                for name, said in _SAID.items()
                if logs and logs.get(prefix + name) is not None
            ]
            if figures:
                logger.info("step %d, %s%s", state.global_step, when, ", ".join(figures))
