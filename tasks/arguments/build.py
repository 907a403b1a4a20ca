"""Arguments of the installed Trainer, from a request's settings.

:func:`build_arguments` applies the table and says of each setting that was sent whether it was
applied, adjusted (with the reason) or ignored; nothing is dropped silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.arguments.adaptation import CPU_PRECISION, Context, Note
from tasks.arguments.gpu_choices import OWN_KERNELS, Kernels, choose_for_gpu
from tasks.arguments.table import (
    DEFAULT_CHECKPOINTS_KEPT,
    FIXED,
    RLHF_ARGUMENTS,
    TABLE,
    Setting,
)
from tasks.errors import ConfigurationError
from trainyard.contract.config import JobConfig, TrainingConfig
from trainyard.contract.rules import problems

DEFAULT_MAX_LENGTH = 1024


@dataclass(frozen=True)
class Arguments:
    """``values`` for ``trl.SFTConfig`` or ``trl.DPOConfig``; ``notes`` for the job's log.

    ``model_dtype``, ``quantization`` and ``attention``: what the model loads with. ``reasons``: how
    a GPU is used, and why. ``kernels``: those that its layers compute with.
    """

    values: Mapping[str, Any]
    notes: tuple[Note, ...]
    model_dtype: str
    quantization: dict[str, Any] | None
    save_total_limit: int
    attention: str | None = None
    reasons: tuple[str, ...] = ()
    kernels: Kernels = OWN_KERNELS


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


def build_arguments(context: Context, *, output_dir: str, eval_on_start: bool) -> Arguments:
    """Apply the table. Raises ConfigurationError."""
    _refuse(context)
    how = context.training.how
    fixed = {**FIXED, **how.arguments, **_rlhf_arguments(context)}
    values: dict[str, Any] = {
        **fixed,
        "output_dir": output_dir,
        "eval_on_start": eval_on_start,
        "use_cpu": not context.machine.cuda,
    }
    for setting in TABLE:
        value = _look_up(context.config, setting.path)
        if why := _why_not(setting, value, context, fixed):
            context.ignored(setting.path, why)
        elif setting.argument and setting.argument not in fixed and how.name in setting.methods:
            value = setting.default if value is None else value
            values[setting.argument] = setting.adapt(value, context) if setting.adapt else value
    if how.next_token and not values["packing"]:
        values["dataset_kwargs"] = {"skip_prepare_dataset": True}
    # A loss is better when it is lower; everything else that evals give, when it is higher.
    values["greater_is_better"] = not (values["metric_for_best_model"] or "loss").endswith("loss")
    predictions = context.config.predictions
    if how.scores_texts and predictions is not None and predictions.enabled:
        context.ignored("predictions", "a reward model gives no answers")
    if context.training.processes > 1:
        values["ddp_backend"] = "nccl" if context.machine.cuda else "gloo"
    choices = choose_for_gpu(context, values)
    values.update(choices.arguments)
    if context.training.sharded:
        _shard(context, values)
    dtype, quantization = _model_dtype(context, values), quantization_of(context.training)
    return Arguments(
        values,
        tuple(context.notes),
        dtype,
        quantization,
        context.training.save_total_limit or DEFAULT_CHECKPOINTS_KEPT,
        choices.attention,
        (*choices.reasons, *_why_dtype(context, dtype)),
        choices.kernels,
    )


def _why_not(setting: Setting, value: Any, context: Context, fixed: Mapping[str, Any]) -> str:
    """Why a setting that was sent has no effect; empty if it has, or was not sent."""
    how = context.training.how
    if how.name not in setting.methods:
        belongs = " and ".join(setting.methods)
        return f"it belongs to {belongs}, not to {how.name}" if value else ""
    if setting.ignored:
        return setting.ignored if value is not None else ""
    if not value or not _is_sent(context.config, setting.path):
        return ""
    if setting.argument is not None and setting.argument in fixed:
        return f"{how.name} fixes it: {fixed[setting.argument]!r}"
    return setting.idle(context) if setting.idle else ""


def _refuse(context: Context) -> None:
    """The rules once more, which admission has checked without knowing this machine."""
    machine = context.machine
    found = problems(
        context.config,
        gpu=machine.cuda,
        bitsandbytes=machine.bitsandbytes,
        liger=bool(machine.liger),
    )
    if found:
        raise ConfigurationError(f"{'; '.join(f'{p.path}: {p.message}' for p in found)}.")


def _shard(context: Context, values: dict[str, Any]) -> None:
    """FSDP2; what does not go with it is said."""
    values["fsdp"] = True
    recompute = False
    if not context.training.use_lora:
        # Around what is gathered, else it is gathered twice; but PEFT finds no adapter in there.
        recompute, values["activation_checkpointing"] = values["activation_checkpointing"], False
    values["fsdp_config"] = {"version": 2, "activation_checkpointing": recompute}
    predictions = context.config.predictions
    if predictions is not None and predictions.enabled:
        context.ignored("predictions", "no process has the whole model to answer with (fsdp)")
    if context.training.merge_adapter:
        context.ignored("training.merge_adapter", "no process has the whole model (fsdp)")


def _rlhf_arguments(context: Context) -> dict[str, Any]:
    rlhf = context.training.rlhf
    if not context.training.how.samples_answers or rlhf is None:
        return {}
    return {argument: getattr(rlhf, name) for name, argument in RLHF_ARGUMENTS.items()}


def _look_up(config: JobConfig, path: str) -> Any:
    """The value at ``path``; None if the request says nothing."""
    value: Any = config
    for name in path.split("."):
        value = None if value is None else getattr(value, name)
    return value


def _unasked_dtype(context: Context) -> str:
    """Half precision for weights that are not trained; those that are would lose small steps."""
    frozen = context.training.use_lora and not _trains_base(context)
    return "auto" if frozen and context.machine.cuda else "float32"


def _trains_base(context: Context) -> bool:
    """Whether weights of the base model are trained beside an adapter's."""
    lora = context.config.lora
    return lora is not None and (lora.bias != "none" or bool(lora.modules_to_save))


def _why_dtype(context: Context, dtype: str) -> tuple[str, ...]:
    """The reason for the log, if a GPU trains an adapter."""
    if not (context.machine.cuda and context.training.use_lora):
        return ()
    if context.config.model.torch_dtype is not None:
        return (f"base model: {dtype}, as asked",)
    if _trains_base(context):
        return (f"base model: {dtype}, weights of it are trained",)
    why = (
        "it is frozen, and the adapter stays in float32" if dtype == "bfloat16" else "without bf16"
    )
    return (f"base model: {dtype}, {why}",)


def _is_sent(config: JobConfig, path: str) -> bool:
    """Whether the request itself names the field, with whatever value."""
    section, _, name = path.rpartition(".")
    holder = _look_up(config, section) if section else config
    return holder is not None and name in holder.model_fields_set


def _model_dtype(context: Context, values: Mapping[str, Any]) -> str:
    """The dtype that weights load in.

    On a GPU as asked. float32 on a CPU, and under fp16, whose gradient scaler needs it.
    """
    asked = (context.config.model.torch_dtype or _unasked_dtype(context)).removeprefix("torch.")
    if asked == "auto":
        asked = "bfloat16" if values["bf16"] else "float32"
    if asked not in ("float32", "bfloat16", "float16"):
        raise ConfigurationError(
            f"config.model.torch_dtype is {asked!r}.", "Send float32, bfloat16, float16 or auto."
        )
    if asked == "float32":
        return asked
    if not context.machine.cuda:
        context.adjusted("model.torch_dtype", f"{asked} → float32: {CPU_PRECISION}")
        return "float32"
    if values["fp16"]:
        context.adjusted(
            "model.torch_dtype", f"{asked} → float32: fp16 training keeps its weights in float32"
        )
        return "float32"
    return asked


def quantization_of(training: TrainingConfig) -> dict[str, Any] | None:
    """What the base model is quantised to; None if it is not."""
    asked = training.quantization
    return asked if asked and (asked.get("load_in_4bit") or asked.get("load_in_8bit")) else None
