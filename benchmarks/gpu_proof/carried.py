"""Carried packages: ``GPU_SITE``, a folder of packages beside an interpreter that has only torch.

The standard library alone: nothing else can be imported before the folder is on the path.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def use(folder: str) -> None:
    """Put ``folder`` ("": none) and this repository on the path, of this process and of its
    children. What the interpreter has itself is taken from the folder where that has it too."""
    if folder and not Path(folder).is_dir():
        raise SystemExit(f"GPU_SITE={folder} is no folder: name one that packages were put into "
                         "(pip install --target).")  # fmt: skip
    ahead = [str(ROOT), *([str(Path(folder).resolve())] if folder else [])]
    sys.path[:] = [*ahead, *(entry for entry in sys.path if entry not in ahead)]
    inherited = [e for e in os.environ.get("PYTHONPATH", "").split(os.pathsep) if e]
    others = [entry for entry in inherited if entry not in ahead]
    os.environ["PYTHONPATH"] = os.pathsep.join([*ahead, *others])
