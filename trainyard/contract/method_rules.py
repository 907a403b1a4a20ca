"""What a method needs, checked when a job is admitted: nothing of it is left to fail on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.contract.config import JobConfig
from trainyard.contract.methods import listed, names
from trainyard.contract.request import FieldProblem


def method_problems(config: JobConfig, *, gpu: bool | None) -> list[FieldProblem]:
    """What ``config`` lacks for its method; ``gpu``: whether a slot has one, None: not known."""
    return [*_quantization(config, gpu), *_sharding(config), *_rewards(config)]


def _quantization(config: JobConfig, gpu: bool | None) -> Iterator[FieldProblem]:
    asked = config.training.quantization or {}
    named = next((name for name in ("load_in_4bit", "load_in_8bit") if asked.get(name)), None)
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
            message="needs a CUDA GPU (bitsandbytes), and no slot has one; leave quantization out "
            "to train a LoRA adapter on the whole-precision model",
        )


def _sharding(config: JobConfig) -> Iterator[FieldProblem]:
    training, lora = config.training, config.lora
    if training.sharded and training.use_lora and lora is not None and lora.bias != "none":
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
    micro_batch, group = training.batch_size * training.processes, rlhf.num_generations
    if micro_batch * training.gradient_accumulation_steps % group:
        yield FieldProblem(
            path=f"{path}.num_generations",
            message=f"{group} answers to each prompt do not divide a step's "
            f"{micro_batch * training.gradient_accumulation_steps} rows "
            "(batch_size * gradient_accumulation_steps * processes)",
        )
    if training.max_length is not None and rlhf.max_completion_length >= training.max_length:
        yield FieldProblem(
            path=f"{path}.max_completion_length",
            message=f"{rlhf.max_completion_length} leaves no room for a prompt: "
            f"config.training.max_length is {training.max_length}",
        )
