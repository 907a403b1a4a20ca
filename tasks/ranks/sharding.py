"""Sharding of a model between processes (FSDP2): its checkpoints are those of a whole one.

The Trainer would write the weights a second time, pickled. Here a checkpoint has them once, as
safetensors under the names of the whole model; the optimizer's state is whole too, in
``optimizer.bin``, loaded with ``weights_only``. The first process reads and hands each its share.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from accelerate.utils import (
    DistributedType,
    FullyShardedDataParallelPlugin,
    save_fsdp_optimizer,
)
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from transformers.trainer import SCHEDULER_NAME

from tasks.errors import ResumeMismatch

if TYPE_CHECKING:
    _Base = Any
else:
    _Base = object

_RECOMPUTED = "_checkpoint_wrapped_module."
"""In the names of parameters below activation checkpointing; in no state."""


class ShardedTrainer(_Base):  # type: ignore[misc]  # transformers is not type-checked here
    """Mixin for a ``transformers.Trainer``; changes nothing if its model is not sharded."""

    def create_accelerator_and_postprocess(self) -> None:
        """As the Trainer's, and sharded on a CPU too.

        accelerate shards only on accelerators, and would fall back to DDP without a word.
        """
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and self.args.use_cpu:
            state = self.accelerator.state
            # AcceleratorState copies what PartialState says at each look.
            PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            self.is_fsdp_enabled = True

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Every process comes here; the first one writes, each tied weight once."""
        if not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
            return
        tied = getattr(self.model, "all_tied_weights_keys", {})
        whole = self.accelerator.get_state_dict(self.model)
        self._save(output_dir, {name: t for name, t in whole.items() if name not in tied})

    def give_share(self) -> None:
        """What the other processes do while the first one saves the model."""
        if self.is_fsdp_enabled:
            self.accelerator.get_state_dict(self.model)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        save_fsdp_optimizer(
            self.accelerator.state.fsdp_plugin,
            self.accelerator,
            self.optimizer,
            self.model,
            output_dir,
        )
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, folder: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            self._load_shares(Path(folder))
        else:
            super()._load_from_checkpoint(folder, model)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled:
            self._load_shares(Path(self.state.best_model_checkpoint))
        else:
            super()._load_best_model()

    def _load_shares(self, folder: Path) -> None:
        state = whole_state(folder, self.model) if self.args.process_index == 0 else {}
        # Not strict, since tied weights and an adapter's base model are not in the file.
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
        set_model_state_dict(self.model, dict[str, Any](state), options=options)


def whole_state(folder: Path, model: Any) -> dict[str, torch.Tensor]:
    """The weights in ``folder``, of a whole model or an adapter, under ``model``'s own names.

    Raises ResumeMismatch if some of what is trained is not there.
    """
    state = {}
    for path in sorted(folder.glob("*.safetensors")):
        state.update(load_file(path))
    if hasattr(model, "peft_config"):
        # PEFT saves an adapter without its name.
        ending = re.compile(r"[.]weight$")
        state = {ending.sub(".default.weight", name): value for name, value in state.items()}
    trained = {
        name.replace(_RECOMPUTED, "")
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    missing = sorted(trained - set(state))
    if missing:
        raise ResumeMismatch(
            f"The checkpoint {folder.name} lacks {len(missing)} of the weights that are trained, "
            f"{missing[0]} among them.",
            "Start the job again from the start.",
        )
    return state
