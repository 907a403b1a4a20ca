"""Names of models: those that jobs made, as OpenAI names its own, and the folders of base models.

    ft:BASE:trainyard:SUFFIX:JOB                     the result of a job
    ft:BASE:trainyard:SUFFIX:JOB:ckpt-step-N         one of its checkpoints

Only the job's id counts, and the step: it is unique, and holds no colon.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainyard.contract.fields.job_reference import PREFIX
from trainyard.contract.job_folder import CHECKPOINTS, checkpoint_name
from trainyard.contract.names import JOB_ID_PATTERN

OWNER = "trainyard"
_OURS = re.compile(
    rf"ft:(.+?):{OWNER}:[^:]*:({JOB_ID_PATTERN.strip('^$')})(?::ckpt-step-([0-9]{{1,12}}))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class TunedModel:
    """A model, and the job that made it; ``step``: of its checkpoint, None for its result."""

    base: str
    job_id: str
    step: int | None = None

    @property
    def checkpoint(self) -> str:
        """Relative to the job's folder; "" for the result."""
        return "" if self.step is None else f"{CHECKPOINTS}/{checkpoint_name(self.step)}"

    @property
    def reference(self) -> str:
        """As a training goes on from it."""
        at = "" if self.step is None else f"@{checkpoint_name(self.step)}"
        return f"{PREFIX}{self.job_id}{at}"


def tuned_model(name: str) -> TunedModel | None:
    """None for a base model."""
    found = _OURS.fullmatch(name)
    if found is None:
        return None
    base, job_id, step = found.groups()
    return TunedModel(base, job_id, None if step is None else int(step))


def tuned_name(base: str, suffix: str | None, job_id: str, step: int | None = None) -> str:
    """The name of a result or a checkpoint; of a model that goes on from another, with its base."""
    before = tuned_model(base)
    base = before.base if before else base
    at = "" if step is None else f":ckpt-step-{step}"
    return f"ft:{base}:{OWNER}:{suffix or ''}:{job_id}{at}"


def base_models(roots: Sequence[Path]) -> dict[str, int]:
    """Models that lie below MODEL_ROOTS on this host, by name, each with when it came."""
    found: dict[str, int] = {}
    for root in roots:
        for config in sorted(root.glob("*/config.json")):
            found.setdefault(config.parent.name, int(config.stat().st_mtime))
    return found
