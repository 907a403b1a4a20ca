"""Fork safety of the slot process: its preload, and whether it may fork after that.

A child of fork has the parent's memory, but only one thread: a lock that another thread held
stays locked in it for ever, and a CUDA context does not survive. Threads that were there right
after the import (OpenBLAS's and jemalloc's, which prepare themselves for fork) are known to be
harmless; any other one, or an open NVIDIA device, is not.
"""

from __future__ import annotations

import gc
import importlib
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path

from worker.machine.process_tree import open_fds


class ForkSafety:
    """Remembers the threads of this moment; later asks what speaks against a fork."""

    def __init__(self) -> None:
        self._harmless = _native_threads()

    def objection(self) -> str | None:
        """Why a fork is not safe now, in words for a log; None if it is."""
        if (count := threading.active_count()) > 1:
            names = ", ".join(t.name for t in threading.enumerate()[1:])
            return f"{count - 1} Python thread(s) run: {names}"
        if strangers := _native_threads() - self._harmless:
            names = ", ".join(sorted(name for name, _, _ in strangers))
            return f"{len(strangers)} thread(s) started after the preload: {names}"
        if _cuda_touched():
            return "CUDA was touched by the preload"
        return None


@dataclass(frozen=True)
class Preload:
    """What the preload left: fork safety, or the reason why fresh interpreters have to do."""

    safety: ForkSafety | None
    objection: str
    library_fds: frozenset[int]

    def objection_to_fork(self) -> str | None:
        """Why an attempt cannot be forked from here now; None if it can."""
        return self.objection if self.safety is None else self.safety.objection()


def preload(module: str | None) -> Preload:
    """Import what every training needs. A failing import is printed, and forbids forking."""
    if module is None:
        return Preload(None, "PRELOAD=0", frozenset())
    before = open_fds()
    try:
        importlib.import_module(module)
    except Exception as error:
        traceback.print_exc()
        return Preload(None, f"the preload failed: {error!r}", frozenset())
    gc.collect()
    # Objects of the imports are left alone by the children's collector, and so stay shared.
    gc.freeze()
    return Preload(ForkSafety(), "", frozenset(open_fds() - before))


def _native_threads() -> frozenset[tuple[str, int, str]]:
    """Name, id and start time of each thread but the main one."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) == threading.main_thread().native_id:
            continue
        try:
            head, _, rest = (task / "stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):  # it ended just now
            continue
        found.add((head.partition("(")[2], int(task.name), rest.split()[19]))
    return frozenset(found)


def _cuda_touched() -> bool:
    """Whether this process has initialised CUDA, through torch or below it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return True
    # Without torch's knowledge, the driver may have been initialised below it (cuInit opens the
    # memory device; NVML, which is harmless, does not).
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if str(entry.readlink()).startswith("/dev/nvidia-uvm"):
                return True
        except FileNotFoundError:  # the descriptor that lists this folder
            continue
    return False
