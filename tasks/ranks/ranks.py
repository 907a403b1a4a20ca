"""Ranks, the processes of one training, as each of them sees the others.

Between steps the ranks talk over a gloo group of their own, on the CPU: it waits for no GPU, and as
long as a hold or a checkpoint takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed

COLLECTIVE_TIMEOUT = timedelta(hours=1)
"""Of gradients and gathered figures. A rank that dies is noticed at once, not by this."""
_CONTROL_TIMEOUT = timedelta(days=30)

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """``index`` of this process (from 0) among ``count``; a training of one process is alone.

    Only the first one speaks to the supervisor and writes checkpoints and the model.
    """

    index: int = 0
    count: int = 1
    control: Any = None

    @classmethod
    def join(cls, index: int, count: int, store: Any, *, cuda: bool) -> Ranks:
        """Meet the other ranks at ``store``: gradients over nccl on GPUs, over gloo on a CPU."""
        if cuda:
            torch.cuda.set_device(index)
        torch.distributed.init_process_group(
            backend="nccl" if cuda else "gloo",
            store=store,
            rank=index,
            world_size=count,
            timeout=COLLECTIVE_TIMEOUT,
        )
        control = torch.distributed.new_group(backend="gloo", timeout=_CONTROL_TIMEOUT)
        return cls(index, count, control)

    def leave(self) -> None:
        """Part from the other ranks, when every one of them has come here."""
        self.barrier()
        torch.distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.index == 0

    @property
    def are_several(self) -> bool:
        """Whether there are other ranks."""
        return self.count > 1

    def barrier(self) -> None:
        """Wait until every rank has come here."""
        if self.are_several:
            torch.distributed.barrier(group=self.control)

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Run the body in the first rank, then in the others: they find what it has cached."""
        if not self.is_first:
            self.barrier()
        yield
        if self.is_first:
            self.barrier()

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` returns in the first rank; it is not called in the others."""
        if not self.are_several:
            return make()
        held: list[Any] = [make() if self.is_first else None]
        torch.distributed.broadcast_object_list(held, src=0, group=self.control)
        found: T = held[0]
        return found

    def flags_of_first(self, flags: list[bool]) -> list[bool]:
        """The first rank's ``flags``: one broadcast of as many bytes."""
        if not self.are_several:
            return flags
        agreed = torch.tensor(flags, dtype=torch.uint8)
        torch.distributed.broadcast(agreed, src=0, group=self.control)
        return [bool(flag) for flag in agreed.tolist()]

    def sum(self, value: float) -> float:
        """The sum of every rank's ``value``, the same in all."""
        if not self.are_several:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        torch.distributed.all_reduce(total, group=self.control)
        return float(total.item())

    def file_name(self, name: str) -> str:
        """``name`` for the first rank's file in a checkpoint, ``name-<rank>`` for another's."""
        if self.is_first:
            return name
        stem, dot, suffix = name.rpartition(".")
        return f"{stem}-{self.index}{dot}{suffix}"


ALONE = Ranks()
"""A training of one process."""
