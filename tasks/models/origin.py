"""Origin of a training: the whole model that ``model.name`` stands for, and the adapter on it.

A name is a folder's or the hub's, or ``job:ID`` of a job whose result lies on this host. A folder
with an adapter names its base model, which is looked up as a request's would be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ModelError, ModelNotFound
from tasks.models.load import TOKENIZER_FILES, locate_model, refuse_links_out
from tasks.models.safety import read_json
from trainyard.contract.checkpoint_manifest import CheckpointDamaged, verify
from trainyard.contract.config import ModelConfig
from trainyard.contract.fields.job_reference import JobReference, job_reference
from trainyard.contract.job_folder import MODEL, REQUEST
from trainyard.contract.request import TrainingRequest

ADAPTER_NAME = "adapter_config.json"
_ON_ANOTHER = "Merge it first (`trainyard merge`, `trainyard export`), and name the whole model."


@dataclass(frozen=True)
class Places:
    """Where models are looked up: ``roots``, and the folder of this host's ``jobs``."""

    roots: Sequence[str]
    jobs: Path
    allow_remote_code: bool = False


@dataclass(frozen=True)
class Origin:
    """The folder of a whole ``model``, which ``base`` names, and that of the ``adapter`` on it."""

    model: Path
    base: ModelConfig
    adapter: Path | None = None

    @property
    def tokenizer(self) -> Path:
        """The folder with the tokenizer: the adapter's, if it was saved with one."""
        own = self.adapter
        has = own is not None and any((own / name).is_file() for name in TOKENIZER_FILES)
        return own if own is not None and has else self.model


def find_origin(model: ModelConfig, places: Places) -> Origin:
    """What ``model`` stands for. Raises ModelError."""
    reference = job_reference(model.name)
    if reference is None:
        folder = locate_model(
            model.name,
            places.roots,
            revision=model.revision,
            allow_remote_code=places.allow_remote_code,
        )
    else:
        folder = _folder_of(reference, places.jobs)
    if not (folder / ADAPTER_NAME).exists():
        return Origin(folder, model)
    if reference is not None and reference.checkpoint is not None:
        base = _base_of_checkpoint(reference, places)
    else:
        base = find_origin(named_base(folder, model.name), places)
        if base.adapter is not None:
            raise ModelError(f"The model {model.name!r} is an adapter of an adapter.", _ON_ANOTHER)
    return Origin(base.model, base.base, folder)


def ancestors(name: str, jobs: Path) -> Iterator[tuple[str, TrainingRequest]]:
    """The jobs that a model ``name`` comes from, the newest first: how each was named, and its
    request; as far as their folders are there."""
    while (reference := job_reference(name)) is not None:
        request = _request(reference, jobs)
        if request is None:
            return
        yield name, request
        name = request.config.model.name


def _folder_of(reference: JobReference, jobs: Path) -> Path:
    named = f"job:{reference.job_id}"
    job = jobs / reference.job_id
    folder = job / (reference.checkpoint or MODEL)
    what = reference.checkpoint or "result"
    if not folder.is_dir() or not folder.resolve().is_relative_to(job.resolve()):
        raise ModelNotFound(
            f"The job {reference.job_id} has no {what} on this host.",
            f"`trainyard checkpoints {reference.job_id}` lists those that are kept."
            if reference.checkpoint
            else "A result is there once its job is completed, where that ran "
            f"(`trainyard status {reference.job_id}`).",
        )
    refuse_links_out(folder, [job.resolve()], named)
    if reference.checkpoint is None:
        return folder
    try:
        manifest = verify(folder)
    except CheckpointDamaged as damage:
        raise ModelError(
            f"The checkpoint {named}@{folder.name} is damaged: {damage}.",
            f"Name another one (`trainyard checkpoints {reference.job_id}`).",
        ) from damage
    if manifest.job_id != reference.job_id:
        raise ModelError(f"{folder.name} is of another job, {manifest.job_id!r}.")
    return folder


def _request(reference: JobReference, jobs: Path) -> TrainingRequest | None:
    path = jobs / reference.job_id / REQUEST
    return TrainingRequest.model_validate_json(path.read_bytes()) if path.is_file() else None


def _base_of_checkpoint(reference: JobReference, places: Places) -> Origin:
    """As the job's request has it: PEFT writes into a checkpoint where the base model lay."""
    request = _request(reference, places.jobs)
    if request is None:
        raise ModelNotFound(f"The job {reference.job_id} has no {REQUEST} any more.")
    base, lora = find_origin(request.config.model, places), request.config.lora
    if base.adapter is not None and lora is not None and lora.adapter == "new":
        raise ModelError(
            f"A checkpoint of the job {reference.job_id} is an adapter on top of another one.",
            f"Name the job's result, job:{reference.job_id}, which is one of both.",
        )
    return base


def named_base(folder: Path, name: str) -> ModelConfig:
    """The base model as the adapter ``name`` in ``folder`` names it. Raises ModelError."""
    said = read_json(folder / ADAPTER_NAME, name)
    base, revision = said.get("base_model_name_or_path"), said.get("revision")
    try:
        return ModelConfig(name=base, revision=revision)  # type: ignore[arg-type]  # of a file
    except ValueError as error:
        raise ModelError(
            f"{ADAPTER_NAME} of the model {name!r} names no base model: {base!r}.",
            "Write it there (base_model_name_or_path).",
        ) from error
