"""Resume: the checkpoint that an attempt starts from, proven to be one of this very training."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.checkpoints.folder import begin_branch, last_good, list_checkpoints
from tasks.errors import ConfigurationError
from trainyard.contract.checkpoint_manifest import CheckpointDamaged, Manifest, sha256_of, verify
from trainyard.contract.config import JobConfig
from trainyard.contract.events import TrainingSpec
from trainyard.contract.job_folder import CHECKPOINTS

_OF_NO_CONSEQUENCE = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """The verified checkpoint that an attempt goes on from."""

    folder: Path
    manifest: Manifest

    @property
    def relative_path(self) -> str:
        """Relative to the job folder, as supervisor and store name it."""
        return f"{self.folder.parent.name}/{self.folder.name}"


def choose_start(spec: TrainingSpec) -> Start | None:
    """The checkpoint that ``spec`` names, else the last good one; None: from the start.

    One that is named counts from :func:`commit_start` on: it may be of another training.
    Raises ConfigurationError if the one that is named cannot be gone on from, or if what a person
    chose before cannot be read.
    """
    folder = Path(spec.job_dir) / CHECKPOINTS
    if spec.resume_from is not None:
        return _named(spec, folder, spec.resume_from)
    if spec.from_start:
        begin_branch(folder, spec.attempt, None)
        return None
    try:
        found = last_good(folder)
    except CheckpointDamaged as damage:
        raise ConfigurationError(
            f"It is not known any more which checkpoints the job goes on from: {damage}.",
            f"Resume from one that you name ({_listed(folder)}), or start again from the start.",
        ) from damage
    return None if found is None else Start(*found)


def commit_start(spec: TrainingSpec, start: Start) -> None:
    """Go on from ``start`` for good, if a person chose it: what came after it is left behind."""
    if spec.resume_from is not None:
        begin_branch(start.folder.parent, spec.attempt, start.folder.name)


def _named(spec: TrainingSpec, folder: Path, name: str) -> Start:
    path = Path(spec.job_dir) / name
    if path.resolve().parent != folder.resolve() or path.is_symlink():
        raise ConfigurationError(
            f"The checkpoint {name!r} does not lie in the job's own folder of checkpoints.",
            f"Name one of: {_listed(folder)}.",
        )
    if not path.is_dir():
        raise ConfigurationError(
            f"The job has no checkpoint {name!r}.", f"It has: {_listed(folder)}."
        )
    try:
        manifest = verify(path.resolve())
    except CheckpointDamaged as damage:
        raise ConfigurationError(
            f"The checkpoint {name!r} is damaged: {damage}.",
            f"Resume from another one ({_listed(folder)}), or name none to have the last good one.",
        ) from damage
    if manifest.job_id != spec.job_id:
        raise ConfigurationError(
            f"The checkpoint {name!r} is of another job, {manifest.job_id!r}.",
            f"Name one of: {_listed(folder)}.",
        )
    return Start(folder / path.name, manifest)


def _listed(folder: Path) -> str:
    found = [f"{folder.name}/{path.name}" for path in list_checkpoints(folder)]
    return ", ".join(found) or "none"


def fingerprint(
    config: JobConfig, model_config: Any, data_sha256: str, origin: Path | None = None
) -> dict[str, str]:
    """What must agree between a checkpoint and the training that goes on from it, by name.

    ``origin``: the weights of the adapter that the job itself went on from.
    """
    lora = config.lora if config.training.use_lora else None
    values = {
        key: value for key, value in model_config.to_dict().items() if key not in _OF_NO_CONSEQUENCE
    }
    return {
        "model": config.model.name,
        "model configuration": _sha256(json.dumps(values, sort_keys=True, default=str)),
        "method": config.training.method,
        "adapter": "none" if lora is None else f"LoRA, r {lora.r}, {lora.target_modules}",
        "data set": data_sha256,
        **({"frozen": ", ".join(frozen)} if (frozen := config.training.freeze) else {}),
        **({} if origin is None else {"adapter gone on from": sha256_of(origin)}),
        "processes": f"{config.training.processes}{', sharded' if config.training.sharded else ''}",
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check_fits(start: Start, now: dict[str, str]) -> None:
    """Raise ConfigurationError if the checkpoint is of another training than ``now``'s."""
    differing = [
        f"{name} (was {was}, is {now.get(name)})"
        for name, was in start.manifest.fingerprint.items()
        if now.get(name) != was
    ]
    if differing:
        raise ConfigurationError(
            f"The checkpoint {start.relative_path} is of another training; these differ: "
            f"{'; '.join(differing)}.",
            "Put back what it was trained with, or start the job again from the start.",
        )
