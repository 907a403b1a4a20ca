"""Rules between the fields of a configuration, each stated once: at admission, so that nothing is
left to fail on a GPU, and again in the training, which knows its machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.contract.config import JobConfig
from trainyard.contract.fields.refused import refused_fields
from trainyard.contract.methods import listed, names
from trainyard.contract.request import FieldProblem


def problems(
    config: JobConfig, *, gpu: bool | None, bitsandbytes: bool | None = None
) -> list[FieldProblem]:
    """What does not go together in ``config``, and what it asks of a machine that has it not.

    ``gpu``: whether there is a CUDA GPU; ``bitsandbytes``: whether it is installed; None: not
    known.
    """
    return [
        *refused_fields(config),
        *_best(config),
        *_quantization(config, gpu, bitsandbytes),
        *_adapter(config),
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
    if lora.target_parameters and lora.dropout:
        yield FieldProblem(
            path="config.lora.target_parameters",
            message="an adapter of fused weights has no dropout: send lora.dropout 0",
        )


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
