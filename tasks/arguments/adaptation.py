"""Adaptation of single settings to the machine, the data and the installed Trainer.

Each function takes the value that was sent (None if the request says nothing) and the context,
returns what the Trainer gets, and leaves a note if that is something else than was asked for.
"""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.arguments.machine import Machine
from tasks.errors import ConfigurationError
from trainyard.contract.config import JobConfig, TrainingConfig

CPU_PRECISION = "this machine trains on the CPU, in float32"
_REPORTERS = ("tensorboard", "wandb", "mlflow")
_OLD_OPTIMIZERS = {"adamw_hf": "adamw_torch"}


@dataclass(frozen=True)
class Note:
    """What became of one setting that was sent: ``path`` as in the request below ``config``."""

    path: str
    what: Literal["adjusted", "ignored"]
    reason: str

    def __str__(self) -> str:
        return f"{self.what.capitalize()}: config.{self.path}: {self.reason}"


@dataclass
class Context:
    """What the table's rows may look at, and the notes that they leave."""

    config: JobConfig
    machine: Machine
    max_length: int
    has_eval: bool
    notes: list[Note] = field(default_factory=list)

    @property
    def training(self) -> TrainingConfig:
        """The request's ``config.training``."""
        return self.config.training

    def adjusted(self, path: str, reason: str) -> None:
        """Note that another value than was sent is used."""
        self.notes.append(Note(path, "adjusted", reason))

    def ignored(self, path: str, reason: str) -> None:
        """Note that the setting has no effect."""
        self.notes.append(Note(path, "ignored", reason))


def max_steps(value: int | None, _: Context) -> int:
    return -1 if value is None else value


def warmup(value: int, context: Context) -> float:
    """Steps if there are any, else the ratio: the Trainer takes a float below 1 as one."""
    ratio = context.training.warmup_ratio
    return value if value > 0 or not ratio else min(ratio, math.nextafter(1.0, 0.0))


def bf16(value: bool | None, context: Context) -> bool:
    machine = context.machine
    if machine.bf16 and not context.training.fp16:
        return value is not False
    if value and not machine.bf16:
        reason = "this GPU has no bfloat16; float16 is used" if machine.cuda else CPU_PRECISION
        context.adjusted("training.bf16", reason)
    elif value:
        raise ConfigurationError(
            "config.training.bf16 and config.training.fp16 are both true.", "Choose one of them."
        )
    return False


def fp16(value: bool | None, context: Context) -> bool:
    machine = context.machine
    if value and not machine.cuda:
        context.adjusted("training.fp16", CPU_PRECISION)
        return False
    wanted_half = bool(value) or bool(context.training.bf16 and not machine.bf16)
    return machine.cuda and wanted_half


def compiled(value: bool, context: Context) -> bool:
    if value and not context.machine.cuda:
        context.adjusted("training.torch_compile", "true → false: there is no GPU to compile for")
    return value and context.machine.cuda


def optimizer(value: str | None, context: Context) -> str:
    # Late: the table is documentation too, and is read without transformers.
    from transformers.training_args import OptimizerNames  # noqa: PLC0415

    default = "adamw_torch_fused"
    if value is None:
        return default
    name = _OLD_OPTIMIZERS.get(value, value)
    if name != value:
        context.adjusted("training.optim", f"{value} → {name}, as it is called now")
    known = [item.value for item in OptimizerNames]
    if name not in known:
        raise ConfigurationError(
            f"config.training.optim is {value!r}, which the Trainer does not have.",
            f"It has: {', '.join(known)}.",
        )
    needs_gpu = any(sign in name for sign in ("8bit", "paged", "bnb", "4bit"))
    if needs_gpu and not (context.machine.cuda and context.machine.bitsandbytes):
        lacks = "bitsandbytes" if context.machine.cuda else "a CUDA GPU"
        context.adjusted("training.optim", f"{value} → {default}: it needs {lacks}")
        return default
    return name


def optimizer_arguments(value: dict[str, Any] | str | None, _: Context) -> str | None:
    """As the Trainer reads them: a text."""
    if isinstance(value, str) and not all("=" in part for part in value.split(",")):
        raise ConfigurationError(
            f"config.training.optim_args is {value!r}.", "Send name=value,name=value, or an object."
        )
    if not isinstance(value, dict):
        return value
    return ",".join(f"{name}={given}" for name, given in value.items())


def scheduler(value: str, _: Context) -> str:
    from transformers.trainer_utils import SchedulerType  # noqa: PLC0415 (as above)

    known = [item.value for item in SchedulerType]
    if value not in known:
        raise ConfigurationError(
            f"config.training.lr_scheduler_type is {value!r}, which the Trainer does not have.",
            f"It has: {', '.join(known)}.",
        )
    return value


def eval_strategy(value: str | None, context: Context) -> str:
    if not context.has_eval:
        if value in ("steps", "epoch"):
            context.adjusted(
                "training.eval_strategy", "no: there are no rows to evaluate on (data.eval_split)"
            )
        return "no"
    if value is not None:
        return value
    return "steps" if context.training.eval_steps else "epoch"


def eval_steps(value: int | None, context: Context) -> int:
    return value or context.training.logging_steps


def save_strategy(value: str | None, _: Context) -> str:
    return value or "steps"


def best_metric(value: str | None, context: Context) -> str | None:
    if not context.has_eval:
        if value:
            context.ignored("training.metric_for_best_model", "there are no rows to evaluate on")
        return None
    default, *others = context.training.how.eval_metrics
    asked = default if value is None else f"eval_{value.removeprefix('eval_')}"
    if asked in (default, *others):
        return asked
    # Lower loss and lower perplexity are the same.
    context.adjusted(
        "training.metric_for_best_model",
        f"{value} → {default}; evals give {', '.join((default, *others))}",
    )
    return default


def _is_installed(name: str) -> bool:
    """Whether a tracker is there; a folder of its name is none, such as that of its own runs."""
    spec = importlib.util.find_spec(name)
    disabled = os.environ.get(f"DISABLE_{name.upper()}_INTEGRATION", "").upper() == "TRUE"
    return spec is not None and spec.origin is not None and not disabled


def report_to(value: list[str] | str | None, context: Context) -> list[str]:
    asked = [value] if isinstance(value, str) else list(value or ())
    if (context.config.tensorboard or {}).get("enabled"):
        asked.append("tensorboard")
    kept = []
    for name in dict.fromkeys(asked):
        if name == "none":
            continue
        if name not in _REPORTERS:
            context.ignored("training.report_to", f"{name!r} is not one of {', '.join(_REPORTERS)}")
        elif not _is_installed(name):
            context.ignored("training.report_to", f"{name} is not installed on this worker")
        else:
            kept.append(name)
    return kept


def loader_workers(value: int | None, context: Context) -> int:
    # One core is left to the training process itself.
    most = max(context.machine.cores - 1, 0)
    whose = "this machine has" if context.training.processes == 1 else "each process has"
    if value and value > most:
        context.adjusted(
            "training.dataloader_num_workers",
            f"{value} → {most}: {whose} {context.machine.cores} cores",
        )
    return min(value or 0, most)


def prefetch(value: int | None, context: Context) -> int | None:
    if value and not min(context.training.dataloader_num_workers or 0, context.machine.cores - 1):
        context.ignored("training.dataloader_prefetch_factor", "there are no loader workers")
        return None
    return value


def pin_memory(value: bool | None, context: Context) -> bool:
    if value and not context.machine.cuda:
        context.ignored("training.dataloader_pin_memory", "there is no GPU to copy to")
    return context.machine.cuda and value is not False


def sampling(value: bool, _: Context) -> str:
    return "group_by_length" if value else "random"


def packing(value: bool | None, context: Context) -> bool:
    return bool(context.training.how.settings["packing"] if value is None else value)


def beta(value: float | None, context: Context) -> float:
    return value or float(context.training.how.settings["beta"])


def simpo_gamma(value: float | None, context: Context) -> float:
    return float(context.training.how.settings["simpo_gamma"] if value is None else value)


def loss_type(value: str | None, context: Context) -> list[str]:
    return [value or context.training.how.losses[0]]  # TRL would mix several


def eval_batch_size(value: int | None, context: Context) -> int:
    training = context.training
    size = value or training.batch_size
    if not training.how.samples_answers or training.rlhf is None:
        return size
    # An eval's batch holds whole groups of answers, over all processes.
    group = training.rlhf.num_generations
    whole = math.lcm(training.processes, group) // training.processes
    chosen = math.ceil(size / whole) * whole
    if value and chosen != value:
        context.adjusted(
            "training.eval_batch_size", f"{value} → {chosen}, for groups of {group} answers"
        )
    return chosen
