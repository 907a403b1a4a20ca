"""Rules between the fields of a configuration, each stated once: at admission, so that nothing is
left to fail on a GPU, and again in the training, which knows its machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.contract.config import JobConfig, TrainingConfig
from trainyard.contract.fields.job_reference import PREFIX
from trainyard.contract.fields.refused import refused_fields
from trainyard.contract.methods import METHODS, SMOOTHED_LOSSES, listed, names
from trainyard.contract.request import FieldProblem

_SMOOTHING_MAX = 0.5
LIGER_MIN = "0.8.2"
"""As TRL asks for."""


def problems(
    config: JobConfig,
    *,
    gpu: bool | None,
    bitsandbytes: bool | None = None,
    liger: bool | None = None,
) -> list[FieldProblem]:
    """What does not go together in ``config``, and what it asks of a machine that has it not.

    ``gpu``: whether there is a CUDA GPU; ``bitsandbytes``, ``liger``: whether that package is
    installed; None: not known.
    """
    return [
        *refused_fields(config),
        *_best(config),
        *_loss(config),
        *_quantization(config, gpu, bitsandbytes),
        *_kernels(config, gpu, liger),
        *_origin(config),
        *_adapter(config),
        *_frozen(config),
        *_sharding(config),
        *_rewards(config),
    ]


def _best(config: JobConfig) -> Iterator[FieldProblem]:
    """The best checkpoint is one that was evaluated, and written."""
    training = config.training
    if not training.load_best_model_at_end:
        return
    for name, what in (("eval_strategy", "evaluates nothing"), ("save_strategy", "writes none")):
        if getattr(training, name) == "no":
            yield FieldProblem(
                path="config.training.load_best_model_at_end",
                message=f"the best is a checkpoint that was evaluated, and {name} 'no' {what}: "
                f"leave {name} out",
            )


def _loss(config: JobConfig) -> Iterator[FieldProblem]:
    """A loss that the method has; smoothed labels only if that loss knows of them."""
    training, losses = config.training, config.training.how.losses
    asked, path = training.loss_type, "config.training.loss_type"
    if asked is not None and asked not in losses:
        message = (
            f"the loss of {training.method} is its own (docs/methods.md), and no other can be "
        )
        message += "chosen"
        if losses:
            message = f"{training.method} has no loss {asked!r}: send {listed(losses, 'or')}"
        if asked in METHODS:
            message = f"{asked} is a method: send it as config.training.method"
        yield FieldProblem(path=path, message=message)
    elif losses and training.label_smoothing_factor:
        loss, path = asked or losses[0], "config.training.label_smoothing_factor"
        if loss not in SMOOTHED_LOSSES:
            yield FieldProblem(
                path=path,
                message=f"the loss {loss} has none: send 0, or the loss_type "
                f"{listed(SMOOTHED_LOSSES, 'or')}",
            )
        elif training.label_smoothing_factor >= _SMOOTHING_MAX:
            yield FieldProblem(
                path=path, message="should be below 0.5: with more, pairs are the wrong way round"
            )


def _quantized(config: JobConfig) -> str | None:
    asked = config.training.quantization or {}
    return next((name for name in ("load_in_4bit", "load_in_8bit") if asked.get(name)), None)


def _quantization(
    config: JobConfig, gpu: bool | None, bitsandbytes: bool | None
) -> Iterator[FieldProblem]:
    named = _quantized(config)
    if named is None:
        return
    path = f"config.training.quantization.{named}"
    if config.training.how.scores_texts:
        yield FieldProblem(path=path, message="the new head of a reward model is not quantised")
    if not config.training.use_lora:
        yield FieldProblem(
            path=path,
            message="needs use_lora: quantised weights cannot be trained themselves; "
            "set use_lora, or leave quantization out",
        )
    if gpu is False:
        yield FieldProblem(
            path=path,
            message="needs a CUDA GPU (bitsandbytes), and there is none; leave quantization out "
            "to train a LoRA adapter on the whole-precision model",
        )
    elif bitsandbytes is False:
        yield FieldProblem(
            path=path,
            message="needs bitsandbytes, which is not installed here; install it on the worker, or "
            "leave quantization out",
        )


def _kernels(config: JobConfig, gpu: bool | None, liger: bool | None) -> Iterator[FieldProblem]:
    """Liger's, if they are asked for and not only wished for."""
    training, name = config.training, "use_liger_kernel"
    if training.use_liger_kernel is not True or name not in training.how.settings:
        return
    path = f"config.training.{name}"
    mend = "leave it out, or send 'auto', which takes them only where they can be had"
    if training.sharded:
        yield FieldProblem(path=path, message=f"is not for fsdp: {mend}")
    if gpu is False:
        yield FieldProblem(path=path, message=f"needs a CUDA GPU, and there is none: {mend}")
    elif liger is False:
        yield FieldProblem(
            path=path,
            message=f"needs the package liger-kernel ({LIGER_MIN} or newer), which is not "
            f"installed here: install it on the worker, {mend}",
        )


def _origin(config: JobConfig) -> Iterator[FieldProblem]:
    """What a result that is gone on from does not go together with."""
    training, lora = config.training, config.lora
    if config.model.revision and config.model.name.startswith(PREFIX):
        yield FieldProblem(
            path="config.model.revision",
            message="is of models of the hub: a job has one result; leave it out",
        )
    if lora is None or lora.adapter is None:
        return
    path = "config.lora.adapter"
    if not training.use_lora:
        message = "needs config.training.use_lora; without it an adapter is merged with its base "
        message += "model, and all weights are trained"
        yield FieldProblem(path=path, message=message)
    if training.sharded:
        yield FieldProblem(path=path, message="fsdp goes on from no adapter: send strategy 'ddp'")
    if training.how.scores_texts:
        yield FieldProblem(path=path, message="a reward model goes on from whole models only")
    if lora.adapter == "new" and _quantized(config):
        yield FieldProblem(
            path=path,
            message="'new' merges an adapter with weights that are whole: leave "
            "config.training.quantization out, or send 'continue'",
        )
    more = (lora.bias != "none", lora.target_parameters, lora.use_dora, lora.modules_to_save)
    if lora.adapter == "new" and any(more):
        yield FieldProblem(
            path=path,
            message="'new' saves both adapters as one, which has no biases, target_parameters, "
            "modules_to_save or DoRA: leave those out",
        )


def _adapter(config: JobConfig) -> Iterator[FieldProblem]:
    training, lora = config.training, config.lora
    if not training.use_lora or lora is None:
        return
    if lora.bias != "none" and (training.how.reference_model or training.how.samples_answers):
        yield FieldProblem(
            path="config.lora.bias",
            message=f"{lora.bias!r} trains biases of the base model itself, with which "
            f"{training.method} compares: that would drift; leave lora.bias out",
        )
    if lora.use_dora and lora.target_parameters:
        yield FieldProblem(
            path="config.lora.use_dora", message="is of layers: leave target_parameters out"
        )
    for name in ("use_dora", "modules_to_save"):
        if getattr(lora, name) and training.sharded:
            yield FieldProblem(
                path=f"config.lora.{name}", message="is not shared out: send strategy 'ddp'"
            )
    if lora.modules_to_save and training.how.scores_texts:
        yield FieldProblem(
            path="config.lora.modules_to_save",
            message="a reward model's head is trained whole anyway: leave it out",
        )
    if lora.target_parameters and lora.dropout:
        yield FieldProblem(
            path="config.lora.target_parameters",
            message="an adapter of fused weights has no dropout: send lora.dropout 0",
        )


def _frozen(config: JobConfig) -> Iterator[FieldProblem]:
    training, path = config.training, "config.training.freeze"
    if training.freeze and training.use_lora:
        yield FieldProblem(
            path=path,
            message="with use_lora the base model is frozen: name what is trained in "
            "config.lora.target_modules",
        )
    if training.freeze and training.sharded:
        yield FieldProblem(path=path, message="is not for fsdp: send strategy 'ddp'")


def _sharding(config: JobConfig) -> Iterator[FieldProblem]:
    training, lora = config.training, config.lora
    if not training.sharded:
        return
    path = "config.training.distributed"
    if training.processes == 1:
        yield FieldProblem(
            path=f"{path}.strategy",
            message="fsdp shares a model between processes: send 'processes' of 2 or more",
        )
    if training.how.samples_answers:
        yield FieldProblem(
            path=path,
            message=f"{training.method} samples answers, which fsdp does not: send strategy 'ddp'",
        )
    if training.how.scores_texts:
        yield FieldProblem(
            path=path, message="fsdp shares no model that scores texts: send strategy 'ddp'"
        )
    if _quantized(config):
        yield FieldProblem(path=path, message="fsdp shares no quantised model: send strategy 'ddp'")
    if training.use_lora and lora is not None and lora.bias != "none":
        yield FieldProblem(
            path="config.lora.bias",
            message=f"{lora.bias!r} cannot be trained with config.training.distributed.strategy "
            "fsdp; leave lora.bias out, or send the strategy ddp",
        )


def _rewards(config: JobConfig) -> Iterator[FieldProblem]:
    training = config.training
    if not training.how.samples_answers:
        return
    path, rlhf = "config.training.rlhf", training.rlhf
    if rlhf is None or not (rlhf.reward_model or rlhf.reward_functions):
        yield FieldProblem(
            path=path,
            message=f"{training.method} needs a reward: name reward_model, or reward_functions "
            "(answer, format, brevity); with pairs of a chosen and a rejected answer send the "
            f"method {listed(names(lambda how: 'preference' in how.shapes), 'or')}",
        )
        return
    if rlhf.algorithm not in (None, *training.how.trainers):
        yield FieldProblem(
            path=f"{path}.algorithm",
            message=f"{training.method} is an algorithm itself: leave it out, or send another "
            "config.training.method",
        )
    rows = training.batch_size * training.processes * training.gradient_accumulation_steps
    if rows % rlhf.num_generations:
        yield FieldProblem(
            path=f"{path}.num_generations",
            message=f"{rlhf.num_generations} answers to each prompt do not divide a step's {rows} "
            "rows (batch_size * gradient_accumulation_steps * processes)",
        )
    if training.max_length is not None and rlhf.max_completion_length >= training.max_length:
        yield FieldProblem(
            path=f"{path}.max_completion_length",
            message=f"{rlhf.max_completion_length} leaves no room for a prompt: "
            f"config.training.max_length is {training.max_length}",
        )


def evals_not_saved(training: TrainingConfig) -> str:
    """A sentence, if checkpoints were asked for that miss evals; else empty.

    Who sets no ``save_steps`` wants the end result, and is told nothing.
    """
    strategy = training.eval_strategy or ("steps" if training.eval_steps else "epoch")
    saves_by_steps = training.save_strategy in (None, "steps") and training.save_steps
    if training.load_best_model_at_end or strategy != "steps" or not saves_by_steps:
        return ""
    eval_steps, save_steps = training.eval_steps or training.logging_steps, training.save_steps
    if save_steps is None or eval_steps % save_steps == 0:
        return ""
    return (
        f"the best eval may have no checkpoint: eval_steps is {eval_steps:,}, save_steps "
        f"{save_steps:,}; let save_steps be {eval_steps:,}, or set load_best_model_at_end, which "
        "keeps each new best"
    )
