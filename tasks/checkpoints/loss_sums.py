"""Loss sums: what the Trainer has summed up since it last logged, kept in the checkpoint.

The Trainer forgets these sums at a resume, and the next logged loss would be the mean of fewer
steps. With them put back a pause between two logging steps changes no logged number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

LOSS_SUMS_NAME = "loss_sums.json"


class LossSums(BaseModel):
    """``loss`` summed over the steps since ``last_logged_step``; what a trainer that counts has in
    its ``sums`` since then (of this process), or TRL's ``metrics`` of each of its micro-batches;
    real ``tokens`` trained on since the job's start, as of that step.

    An older checkpoint has no ``sums``: the first figures after it are those of the steps since
    the resume.
    """

    # A training that goes on with stop_on_nan off may sum up what is no number.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    loss: float
    total_loss: float
    last_logged_step: int
    metrics: dict[str, list[float]]
    tokens: int
    sums: dict[str, float] = {}

    @classmethod
    def of(cls, trainer: Any) -> LossSums:
        """What ``trainer`` has summed up so far."""
        return cls(
            loss=trainer._tr_loss.item(),
            total_loss=trainer._total_loss_scalar,
            last_logged_step=trainer._globalstep_last_logged,
            metrics={name: list(values) for name, values in trainer._metrics["train"].items()},
            tokens=trainer._total_train_tokens,
            sums=trainer.open_sums(),
        )

    def restore(self, trainer: Any) -> None:
        """Put the sums back; to be called once the Trainer has set its own to zero."""
        trainer._tr_loss = torch.tensor(self.loss, device=trainer.args.device)
        trainer._total_loss_scalar = self.total_loss
        trainer._globalstep_last_logged = self.last_logged_step
        for name, values in self.metrics.items():
            trainer._metrics["train"][name] = list(values)
        trainer._total_train_tokens = self.tokens
        trainer.put_back_sums(self.sums)

    def write(self, path: Path) -> None:
        """Write it into a checkpoint's folder (``loss_sums.json``), before that is sealed."""
        path.write_text(self.model_dump_json())

    @classmethod
    def read(cls, path: Path) -> LossSums:
        """Read it from a verified checkpoint."""
        return cls.model_validate_json(path.read_bytes())
