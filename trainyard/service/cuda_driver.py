"""Driver of NVIDIA that the installed torch asks for, read without importing torch."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""Of each major version of CUDA the oldest branch of the driver that its programs run on (NVIDIA's
release notes: minor versions of one major go together)."""


def has_torch() -> bool:
    return find_spec("torch") is not None


def torch_cuda() -> str | None:
    """The version of CUDA that torch was built for, as ``torch.version.cuda``; None for a build
    without, or if there is no torch."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return None
    text = Path(found.origin).with_name("version.py").read_text()
    cuda = re.search(r"^cuda\b[^=]*= *'([\d.]+)'", text, re.MULTILINE)
    return cuda[1] if cuda else None


def oldest_driver(cuda: str) -> int:
    """The oldest branch that may do for a version of CUDA; of one that is not known the newest."""
    major = int(cuda.partition(".")[0])
    return OLDEST_DRIVER.get(major, max(OLDEST_DRIVER.values()))


def too_old(driver: str, cuda: str) -> str | None:
    """Why the ``driver`` ("550.90.07") does not do for ``cuda``, in words; None if it may."""
    if int(driver.partition(".")[0]) >= (oldest := oldest_driver(cuda)):
        return None
    needs = f"torch is built for CUDA {cuda}, which needs {oldest} or newer"
    return f"the driver {driver} is too old: {needs}"
