"""``make gpu-proof``: what the product promises of a GPU, measured in at most eight minutes.

    python -m benchmarks.gpu_proof                    # OUT=folder for the results
    GPU_SITE=folder python -m benchmarks.gpu_proof    # packages beside an interpreter with torch

Without a GPU the same steps run on the CPU with tiny sizes, and each row says so. The exit code is
1 where a step failed; an aim that is missed is a figure like others.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

from benchmarks.gpu_proof import carried


def main() -> int:
    carried.use(os.environ.get("GPU_SITE", ""))
    needed = {"pynvml": "nvidia-ml-py", "psutil": "psutil", "pydantic": "pydantic"}
    if missing := [p for m, p in needed.items() if importlib.util.find_spec(m) is None]:
        print(f"Not installed: {', '.join(missing)}. Name a folder that has it in GPU_SITE.")
        return 2
    from benchmarks.gpu_proof.proof import prove
    from benchmarks.gpu_proof.sizes import size_here

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = Path(os.environ.get("OUT") or carried.ROOT / "var" / "gpu-proof")
    try:
        rows = prove(size_here(), out)
    except KeyboardInterrupt:
        return 130
    print((out / "table.txt").read_text(), end="")
    print(f"written to {out}")
    return 1 if any(row["state"] == "failed" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
