"""GPU choices of a training: each in one place, with its reason for the job's log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.arguments.adaptation import Context
from trainyard.contract.rules import LIGER_MIN

FLASH_ATTENTION = "flash_attention_2"


@dataclass(frozen=True)
class Kernels:
    """Kernels of a model's layers: ``liger``'s or its own, and ``why``, in words."""

    liger: bool
    why: str


OWN_KERNELS = Kernels(False, "the model's own, since training.use_liger_kernel asks for none")


@dataclass(frozen=True)
class GpuChoices:
    """``arguments`` for the Trainer beside the table's; ``attention`` to load the model with (None:
    its own default, SDPA if it has it); ``reasons``: lines for the log."""

    arguments: Mapping[str, Any]
    attention: str | None
    reasons: tuple[str, ...]
    kernels: Kernels


def choose_for_gpu(context: Context, values: Mapping[str, Any]) -> GpuChoices:
    """Choose for ``context.machine``; ``values`` are the Trainer's arguments by the table.

    Without a GPU nothing is chosen, and the attention is as asked for.
    """
    asked = context.config.model.attn_implementation
    kernels = _kernels(context)
    if not context.machine.cuda:
        if kernels is not OWN_KERNELS:
            context.adjusted("training.use_liger_kernel", f"auto → false: {kernels.why}")
        return GpuChoices({}, asked, (), kernels)
    attention, why_attention = _attention(asked, context, values)
    padding_free, why_rows = _rows(attention, context, values)
    reasons = (
        f"precision: {_precision(context, values)}",
        f"optimizer: {values['optim']}, {_why(context.training.optim, 'one kernel for all')}",
        f"attention: {attention or 'sdpa'}, {why_attention}",
        f"rows: {why_rows}",
        f"kernels: {kernels.why}",
        f"torch.compile: {_switch(values['torch_compile'], 'training.torch_compile')}",
        "activation checkpointing: "
        + _switch(values["activation_checkpointing"], "training.gradient_checkpointing")
        + ("" if values["activation_checkpointing"] else "; it comes where memory is too small"),
    )
    arguments = {"padding_free": True} if padding_free else {}
    return GpuChoices(arguments, attention, reasons, kernels)


def _kernels(context: Context) -> Kernels:
    """Never the Trainer's own switch: it would change the model after it was tried."""
    training, machine = context.training, context.machine
    asked = training.use_liger_kernel
    if not asked or "use_liger_kernel" not in training.how.settings:
        return OWN_KERNELS
    lacks = (
        (not machine.cuda, "there is no CUDA GPU"),
        (not machine.liger, f"liger-kernel ({LIGER_MIN} or newer) is not installed"),
        (training.sharded, "fsdp takes no others"),
    )
    for is_lacking, why in lacks:
        if is_lacking:
            return Kernels(False, f"the model's own, since {why}")
    return Kernels(True, f"Liger {machine.liger}, {'as asked' if asked is True else 'installed'}")


def _why(asked: Any, otherwise: str) -> str:
    return "as asked" if asked is not None else otherwise


def _precision(context: Context, values: Mapping[str, Any]) -> str:
    if values["bf16"]:
        return f"bf16, {_why(context.training.bf16, 'which this GPU has')}"
    if values["fp16"]:
        return "fp16, as asked" if context.machine.bf16 else "fp16: this GPU has no bfloat16"
    asked = context.training.bf16 is False
    return f"float32, {'as asked' if asked else 'since this GPU has no bfloat16'}"


def _attention(
    asked: str | None, context: Context, values: Mapping[str, Any]
) -> tuple[str | None, str]:
    if asked is not None:
        return asked, "as asked"
    if not context.machine.flash_attention:
        return None, "since flash-attn is not installed"
    if not (values["bf16"] or values["fp16"]):
        return None, "since flash-attn computes in half precision only"
    return FLASH_ATTENTION, "which is installed"


def _rows(attention: str | None, context: Context, values: Mapping[str, Any]) -> tuple[bool, str]:
    if not context.training.how.next_token:
        return False, "padded to the longest of a batch, as the method needs"
    if values["packing"]:
        return False, "packed into full sequences, without padding"
    if attention == FLASH_ATTENTION:
        return True, "end to end without padding (padding_free), which flash attention keeps apart"
    return False, "padded to the longest of a batch; packing would spare that (training.packing)"


def _switch(on: bool, setting: str) -> str:
    return "on, as asked" if on else f"off, since {setting} does not ask for it"
