"""Receipts: what a training stands on, hashed, so that a resume can prove that it is the same.

Made only at checkpoints, pauses and resumes; a step costs nothing more. Hashes are over raw bytes
in a fixed order, so that they agree between processes and between a tensor's places on GPU and CPU.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Iterator
from typing import Any, Literal

import numpy
import torch
from torch.distributed.tensor import DTensor

from tasks.errors import ResumeMismatch
from trainyard.contract.events import Receipt

RECEIPT_NAME = "receipt.json"
_HASH_BYTES = 64 * 1024 * 1024
"""Tensors are brought from the GPU and hashed in pieces of this size."""

logger = logging.getLogger(__name__)


def optimizer_sha256(state_dict: Any) -> str:
    """SHA-256 (hex) over an optimizer's ``state_dict()``: groups and state, tensors as raw bytes.

    Keys are taken in sorted order; dtype and shape of a tensor count, its device does not.
    """
    digest = hashlib.sha256()
    for part in _pieces(state_dict):
        digest.update(part)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[bytes | memoryview]:
    """The bytes of a nested value, in an order and a framing that are the same each time."""
    if isinstance(value, torch.Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)}\n".encode()
        yield from _tensor_bytes(value)
    elif isinstance(value, dict):
        yield f"dict {len(value)}\n".encode()
        for key in sorted(value, key=_sort_key):
            yield f"{key!r}\n".encode()
            yield from _pieces(value[key])
    elif isinstance(value, list | tuple):
        yield f"list {len(value)}\n".encode()
        for item in value:
            yield from _pieces(item)
    else:
        yield f"{value!r}\n".encode()


def _sort_key(key: Any) -> tuple[str, Any]:
    return (type(key).__name__, key)


def _tensor_bytes(tensor: torch.Tensor) -> Iterator[bytes | memoryview]:
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()  # this process's share
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    for start in range(0, flat.numel(), _HASH_BYTES):
        yield flat[start : start + _HASH_BYTES].cpu().numpy().data


def rng_sha256() -> str:
    """SHA-256 (hex) over the states of Python's, numpy's, torch's and (if used) CUDA's RNG."""
    name, keys, *rest = numpy.random.get_state(legacy=True)
    states: list[Any] = [
        random.getstate(),
        (str(name), torch.from_numpy(numpy.asarray(keys).view(numpy.int32)), *map(float, rest)),
        torch.random.get_rng_state(),
    ]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return optimizer_sha256(states)


def take_receipt(
    trainer: Any, when: Literal["paused", "resumed"], *, data_position: int, warm: bool = False
) -> Receipt:
    """What ``trainer`` stands on now, between two steps.

    ``data_position`` counts the micro-batches of the epoch that finished steps have consumed.
    """
    return Receipt(
        when=when,
        step=trainer.state.global_step,
        epoch=trainer.state.epoch or 0.0,
        learning_rate=float(trainer.lr_scheduler.get_last_lr()[0]),
        optimizer_sha256=optimizer_sha256(trainer.optimizer.state_dict()),
        rng_sha256=rng_sha256(),
        data_position=data_position,
        warm=warm,
    )


def log_receipt(receipt: Receipt) -> None:
    """One line of the job's log."""
    how = "" if receipt.when == "paused" else " (warm)" if receipt.warm else " (cold)"
    logger.info(
        "Receipt, %s%s: step %d, epoch %.4f, learning rate %.6g, data position %d, optimizer %s, "
        "random numbers %s",
        receipt.when,
        how,
        receipt.step,
        receipt.epoch,
        receipt.learning_rate,
        receipt.data_position,
        receipt.optimizer_sha256[:16],
        receipt.rng_sha256[:16],
    )


_COMPARED = {
    "step": "step",
    "epoch": "epoch",
    "learning_rate": "learning rate",
    "data_position": "data position",
    "optimizer_sha256": "optimizer state",
    "rng_sha256": "state of the random numbers",
}


def compare(paused: Receipt, resumed: Receipt) -> None:
    """Raise ResumeMismatch, naming each field that differs."""
    differing = [
        f"{said} (was {getattr(paused, name)}, is {getattr(resumed, name)})"
        for name, said in _COMPARED.items()
        if getattr(paused, name) != getattr(resumed, name)
    ]
    if differing:
        raise ResumeMismatch(
            f"The resume does not go on from what the pause at step {paused.step} left; these "
            f"differ: {', '.join(differing)}.",
            "The checkpoint is intact. Resume it again; if that fails too, this worker's "
            "libraries or hardware are not those that it was paused on.",
        )
