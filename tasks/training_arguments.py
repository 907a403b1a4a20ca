"""One table: what a request calls a setting, and what the installed Trainer calls it.

Every field of the request's ``config`` has a row. :func:`build_arguments` applies the table and
says of each setting that was sent whether it was applied, adjusted (with the reason) or ignored;
nothing is dropped silently. Defaults are written out, since the libraries' own change between
versions (TRL's turn bf16 and gradient checkpointing on).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backend_bridge.contract import JobConfig, TrainingConfig
from tasks.errors import ConfigurationError
from tasks.machine import Machine

SUPPORTED_METHODS = ("sft",)
DEFAULT_MAX_LENGTH = 1024
DEFAULT_SAVE_STEPS = 500
DEFAULT_CHECKPOINTS_KEPT = 3
_CPU_PRECISION = "this machine trains on the CPU, in float32"
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


Adapt = Callable[[Any, Context], Any]


@dataclass(frozen=True)
class Setting:
    """One row: the request's ``path`` below ``config`` → the Trainer's ``argument``.

    ``adapt(value, context)`` turns the one into the other and may leave a note; where the request
    says nothing, it gets None, or ``default`` applies. Without ``argument`` the setting acts
    elsewhere (``used_by``), or nowhere: then ``ignored`` says why.
    """

    path: str
    argument: str | None = None
    default: Any = None
    adapt: Adapt | None = None
    used_by: str = ""
    ignored: str = ""


@dataclass(frozen=True)
class Arguments:
    """``values`` for ``trl.SFTConfig``; ``notes`` for the job's log; what the model loads with."""

    values: Mapping[str, Any]
    notes: tuple[Note, ...]
    model_dtype: str
    quantization: dict[str, Any] | None
    save_total_limit: int


def check_method(config: JobConfig) -> None:
    """Raise ConfigurationError where the method is not built yet."""
    method = config.training.method
    if method not in SUPPORTED_METHODS:
        raise ConfigurationError(
            f"config.training.method is {method!r}; this worker trains with "
            f"{', '.join(SUPPORTED_METHODS)}.",
            "Send config.training.method = 'sft'.",
        )


def choose_max_length(config: JobConfig, model_positions: int | None) -> tuple[int, Note | None]:
    """Tokens a row is cut to: as asked, but no more than the model has positions for."""
    asked = config.training.max_length
    chosen = asked or DEFAULT_MAX_LENGTH
    if model_positions is None or chosen <= model_positions:
        return chosen, None
    if asked is None:
        return model_positions, None
    return model_positions, Note(
        "training.max_length",
        "adjusted",
        f"{asked} → {model_positions}, the positions that the model has",
    )


# ------------------------------------------------------------------ rows that adapt their value


def _max_steps(value: int | None, _: Context) -> int:
    return -1 if value is None else value


def _warmup(value: int, context: Context) -> float:
    """Steps where there are any, else the ratio: the Trainer takes a float below 1 as one."""
    ratio = context.training.warmup_ratio
    return value if value > 0 or not ratio else min(ratio, math.nextafter(1.0, 0.0))


def _bf16(value: bool | None, context: Context) -> bool:
    machine = context.machine
    if machine.bf16 and not context.training.fp16:
        return value is not False
    if value and not machine.bf16:
        reason = "this GPU has no bfloat16; float16 is used" if machine.cuda else _CPU_PRECISION
        context.adjusted("training.bf16", reason)
    elif value:
        raise ConfigurationError(
            "config.training.bf16 and config.training.fp16 are both true.", "Choose one of them."
        )
    return False


def _fp16(value: bool | None, context: Context) -> bool:
    machine = context.machine
    if value and not machine.cuda:
        context.adjusted("training.fp16", _CPU_PRECISION)
        return False
    wanted_half = bool(value) or bool(context.training.bf16 and not machine.bf16)
    return machine.cuda and wanted_half


def _optimizer(value: str | None, context: Context) -> str:
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


def _scheduler(value: str, _: Context) -> str:
    from transformers.trainer_utils import SchedulerType  # noqa: PLC0415 (as above)

    known = [item.value for item in SchedulerType]
    if value not in known:
        raise ConfigurationError(
            f"config.training.lr_scheduler_type is {value!r}, which the Trainer does not have.",
            f"It has: {', '.join(known)}.",
        )
    return value


def _eval_strategy(value: str | None, context: Context) -> str:
    if not context.has_eval:
        if value in ("steps", "epoch"):
            context.adjusted(
                "training.eval_strategy", "no: there are no rows to evaluate on (data.eval_split)"
            )
        return "no"
    if value is not None:
        return value
    return "steps" if context.training.eval_steps else "epoch"


def _eval_steps(value: int | None, context: Context) -> int:
    return value or context.training.logging_steps


def _save_strategy(value: str | None, _: Context) -> str:
    return value or "steps"


def _best_metric(value: str | None, context: Context) -> str | None:
    if not context.has_eval:
        if value:
            context.ignored("training.metric_for_best_model", "there are no rows to evaluate on")
        return None
    if value not in (None, "loss", "eval_loss"):
        context.adjusted(
            "training.metric_for_best_model", f"{value} → eval_loss, the metric that evals give"
        )
    return "eval_loss"


def _loader_workers(value: int | None, context: Context) -> int:
    # One core is left to the training process itself.
    most = max(context.machine.cores - 1, 0)
    if value and value > most:
        context.adjusted(
            "training.dataloader_num_workers",
            f"{value} → {most}: this machine has {context.machine.cores} cores",
        )
    return min(value or 0, most)


def _prefetch(value: int | None, context: Context) -> int | None:
    if value and not min(context.training.dataloader_num_workers or 0, context.machine.cores - 1):
        context.ignored("training.dataloader_prefetch_factor", "there are no loader workers")
        return None
    return value


def _pin_memory(value: bool | None, context: Context) -> bool:
    if value and not context.machine.cuda:
        context.ignored("training.dataloader_pin_memory", "there is no GPU to copy to")
    return context.machine.cuda and value is not False


def _sampling(value: bool, _: Context) -> str:
    return "group_by_length" if value else "random"


def _packing(value: bool, context: Context) -> bool:
    if value:
        context.adjusted(
            "training.packing", "rows are cut and joined to full length ('wrapped' packing)"
        )
    return value


# fmt: off
TABLE: tuple[Setting, ...] = (
    Setting("training.method", used_by="the choice of the trainer"),
    Setting("training.num_epochs", "num_train_epochs"),
    Setting("training.max_steps", "max_steps", adapt=_max_steps),
    Setting("training.learning_rate", "learning_rate"),
    Setting("training.batch_size", "per_device_train_batch_size"),
    Setting("training.eval_batch_size", "per_device_eval_batch_size",
            adapt=lambda value, context: value or context.training.batch_size),
    Setting("training.gradient_accumulation_steps", "gradient_accumulation_steps"),
    Setting("training.warmup_steps", "warmup_steps", adapt=_warmup),
    Setting("training.warmup_ratio", used_by="warmup_steps, where those are 0"),
    Setting("training.lr_scheduler_type", "lr_scheduler_type", adapt=_scheduler),
    Setting("training.optim", "optim", adapt=_optimizer),
    Setting("training.weight_decay", "weight_decay"),
    Setting("training.max_grad_norm", "max_grad_norm"),
    Setting("training.bf16", "bf16", adapt=_bf16),
    Setting("training.fp16", "fp16", adapt=_fp16),
    Setting("training.gradient_checkpointing", "activation_checkpointing", default=False),
    Setting("training.max_length", "max_length", adapt=lambda _, context: context.max_length),
    Setting("training.max_prompt_length", ignored="it belongs to dpo and orpo"),
    Setting("training.packing", "packing", adapt=_packing),
    Setting("training.group_by_length", "train_sampling_strategy", adapt=_sampling),
    Setting("training.beta", ignored="it belongs to dpo and orpo"),
    Setting("training.use_lora", used_by="the model: a LoRA adapter is trained"),
    Setting("training.quantization", used_by="the model's loading"),
    Setting("training.logging_steps", "logging_steps"),
    Setting("training.eval_strategy", "eval_strategy", adapt=_eval_strategy),
    Setting("training.eval_steps", "eval_steps", adapt=_eval_steps),
    Setting("training.save_strategy", "save_strategy", adapt=_save_strategy),
    Setting("training.save_steps", "save_steps", default=DEFAULT_SAVE_STEPS),
    Setting("training.save_total_limit", used_by="the pruning of checkpoints",
            default=DEFAULT_CHECKPOINTS_KEPT),
    Setting("training.metric_for_best_model", "metric_for_best_model", adapt=_best_metric),
    Setting("training.dataloader_num_workers", "dataloader_num_workers", adapt=_loader_workers),
    Setting("training.dataloader_prefetch_factor", "dataloader_prefetch_factor", adapt=_prefetch),
    Setting("training.dataloader_pin_memory", "dataloader_pin_memory", adapt=_pin_memory),
    Setting("training.pretokenize", used_by="the data set: rows are always tokenised beforehand"),
    Setting("training.stop_on_nan", used_by="the check of loss and gradient norm"),
    Setting("model.name", used_by="the model's loading"),
    Setting("model.trust_remote_code", used_by="the model's loading, where the worker allows it"),
    Setting("model.torch_dtype", used_by="the model's loading (dtype)"),
    Setting("model.device_map", ignored="a job has one device, and all of the model is on it"),
    Setting("model.attn_implementation", used_by="the model's loading"),
    Setting("model.revision", used_by="the model's download"),
    Setting("tokenizer.name", used_by="the tokenizer's loading"),
    Setting("tokenizer.trust_remote_code", used_by="the tokenizer's loading, where allowed"),
    Setting("tokenizer.padding_side", used_by="the saved tokenizer; training pads on the right"),
    Setting("tokenizer.add_eos_token", used_by="the tokenising of text and prompt/completion"),
    Setting("lora.r", used_by="LoraConfig(r)"),
    Setting("lora.alpha", used_by="LoraConfig(lora_alpha)"),
    Setting("lora.dropout", used_by="LoraConfig(lora_dropout)"),
    Setting("lora.target_modules", used_by="LoraConfig(target_modules)", default="all-linear"),
    Setting("lora.bias", used_by="LoraConfig(bias)"),
    Setting("lora.task_type", used_by="LoraConfig(task_type)"),
    Setting("data.strategy", ignored="it is a label of the client"),
    Setting("data.generation_type", ignored="it is a label of the client"),
    Setting("data.dataset_format", ignored="the shape is recognised from the columns"),
    Setting("data.text_field", used_by="the data set"),
    Setting("data.columns", used_by="the data set"),
    Setting("data.max_samples", used_by="the data set"),
    Setting("data.train_split", used_by="the data set"),
    Setting("data.eval_split", used_by="the data set"),
    Setting("evaluation.metrics", ignored="loss and perplexity are always reported"),
    Setting("evaluation.eval_steps", used_by="training.eval_steps"),
    Setting("tensorboard", ignored="TensorBoard is not written by this version"),
    Setting("predictions", ignored="prediction samples are not made by this version"),
    Setting("provider", ignored="the worker trains on its own machine"),
    Setting("tools", ignored="it means nothing to a training"),
    Setting("seed", "seed"),
    Setting("dataset_path", used_by="the request's dataset_path, where that is empty"),
    Setting("output_dir", ignored="the result is written to the job's own folder"),
)
# fmt: on

FIXED: Mapping[str, Any] = {
    "report_to": "none",
    "disable_tqdm": True,
    "logging_strategy": "steps",
    "logging_first_step": True,
    # The default logs 0.0 for a loss that is NaN.
    "logging_nan_inf_filter": False,
    "prediction_loss_only": True,
    "remove_unused_columns": True,
    "push_to_hub": False,
    "save_only_model": False,
    # Pruned by tasks.checkpoints once the newest is sealed; the Trainer would do it before.
    "save_total_limit": None,
    "load_best_model_at_end": False,
    "greater_is_better": False,
    "packing_strategy": "wrapped",
    "eval_packing": False,
    # Rows come tokenised; with packing TRL still joins them.
    "dataset_kwargs": {},
}
"""Arguments that no request changes."""


def build_arguments(context: Context, *, output_dir: str, eval_on_start: bool) -> Arguments:
    """Apply the table. Raises ConfigurationError."""
    check_method(context.config)
    values: dict[str, Any] = {
        **FIXED,
        "output_dir": output_dir,
        "eval_on_start": eval_on_start,
        "use_cpu": not context.machine.cuda,
    }
    for setting in TABLE:
        value = _look_up(context.config, setting.path)
        if setting.ignored:
            if value is not None:
                context.ignored(setting.path, setting.ignored)
        elif setting.argument:
            value = setting.default if value is None else value
            values[setting.argument] = setting.adapt(value, context) if setting.adapt else value
    if not values["packing"]:
        values["dataset_kwargs"] = {"skip_prepare_dataset": True}
    dtype, quantization = _model_dtype(context, values), _quantization(context)
    return Arguments(
        values,
        tuple(context.notes),
        dtype,
        quantization,
        context.training.save_total_limit or DEFAULT_CHECKPOINTS_KEPT,
    )


def _look_up(config: JobConfig, path: str) -> Any:
    """The value at ``path``; None where the request says nothing."""
    value: Any = config
    for name in path.split("."):
        value = None if value is None else getattr(value, name)
    return value


def _model_dtype(context: Context, values: Mapping[str, Any]) -> str:
    """The dtype that weights load in.

    On a GPU as asked. float32 on a CPU, and under fp16, whose gradient scaler needs it.
    """
    asked = (context.config.model.torch_dtype or "float32").removeprefix("torch.")
    if asked == "auto":
        asked = "bfloat16" if values["bf16"] else "float32"
    if asked not in ("float32", "bfloat16", "float16"):
        raise ConfigurationError(
            f"config.model.torch_dtype is {asked!r}.", "Send float32, bfloat16, float16 or auto."
        )
    if asked == "float32":
        return asked
    if not context.machine.cuda:
        context.adjusted("model.torch_dtype", f"{asked} → float32: {_CPU_PRECISION}")
        return "float32"
    if values["fp16"]:
        context.adjusted(
            "model.torch_dtype", f"{asked} → float32: fp16 training keeps its weights in float32"
        )
        return "float32"
    return asked


def _quantization(context: Context) -> dict[str, Any] | None:
    asked = context.training.quantization
    if not asked or not (asked.get("load_in_4bit") or asked.get("load_in_8bit")):
        return None
    if not context.training.use_lora:
        raise ConfigurationError(
            "config.training.quantization needs config.training.use_lora: quantised weights "
            "cannot be trained themselves.",
            "Set use_lora, or leave quantization out.",
        )
    if not context.machine.cuda:
        context.adjusted(
            "training.quantization", "the base model is loaded unquantised: there is no CUDA GPU"
        )
        return None
    if not context.machine.bitsandbytes:
        raise ConfigurationError(
            "config.training.quantization needs bitsandbytes, which is not installed here.",
            "Install bitsandbytes on the worker, or leave quantization out.",
        )
    return asked
