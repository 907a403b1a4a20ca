"""Checkpoints that are whole or not used: a manifest of sizes and hashes, written last.

The Trainer writes a checkpoint's files one by one, and a resume from a half-written one goes on
silently with a fresh optimizer. So a checkpoint counts only with a ``manifest.json`` that names
every file with its size and SHA-256 and that matches. It is written after the files are on the
disk (fsync), by an atomic rename.

Optimizer, scheduler and RNG files are torch's; transformers loads them with ``weights_only``.
``training_args.bin``, a plain pickle that no resume reads, is removed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from pathlib import Path

from pydantic import BaseModel, ValidationError

MANIFEST_NAME = "manifest.json"
PICKLED_ARGUMENTS_NAME = "training_args.bin"
_FOLDER = re.compile(r"checkpoint-([0-9]+)")
_CHUNK_BYTES = 1024 * 1024

logger = logging.getLogger(__name__)


class ManifestFile(BaseModel):
    """One file of a checkpoint."""

    size: int
    sha256: str


class Manifest(BaseModel):
    """What makes a folder a checkpoint. ``files`` maps relative paths."""

    job_id: str
    attempt: int
    step: int
    epoch: float
    train_loss: float | None = None
    eval_loss: float | None = None
    files: dict[str, ManifestFile] = {}

    @property
    def size_bytes(self) -> int:
        """Size of all files, without the manifest itself."""
        return sum(file.size for file in self.files.values())


class CheckpointDamaged(Exception):
    """A checkpoint is incomplete or does not match its manifest; the text says why."""


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Bring the checkpoint in ``folder`` to the disk and write its manifest; returns it filled."""
    (folder / PICKLED_ARGUMENTS_NAME).unlink(missing_ok=True)
    files = {}
    for path in _files(folder):
        files[str(path.relative_to(folder))] = ManifestFile(
            size=path.stat().st_size, sha256=_sha256(path)
        )
        sync(path)
    sealed = manifest.model_copy(update={"files": files})
    write_durably(folder / MANIFEST_NAME, sealed.model_dump_json(indent=1).encode())
    sync(folder.parent)
    return sealed


def verify(folder: Path) -> Manifest:
    """Return the manifest of a checkpoint that matches it. Raises CheckpointDamaged."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    except FileNotFoundError:
        raise CheckpointDamaged(f"{folder.name} has no manifest: it was never finished") from None
    except (ValidationError, OSError) as error:
        raise CheckpointDamaged(f"{folder.name} has an unreadable manifest: {error}") from error
    if f"checkpoint-{manifest.step}" != folder.name:
        raise CheckpointDamaged(f"{folder.name} holds the manifest of step {manifest.step}")
    if not manifest.files:
        raise CheckpointDamaged(f"{folder.name} has a manifest that names no file")
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise CheckpointDamaged(f"{folder.name} lacks {name}")
        if path.stat().st_size != expected.size:
            raise CheckpointDamaged(f"{name} of {folder.name} has another size than was written")
        if _sha256(path) != expected.sha256:
            raise CheckpointDamaged(f"{name} of {folder.name} has other contents than was written")
    return manifest


def list_checkpoints(checkpoints_dir: Path) -> list[Path]:
    """The checkpoint folders, finished or not, oldest step first."""
    found = []
    if checkpoints_dir.is_dir():
        for path in checkpoints_dir.iterdir():
            match = _FOLDER.fullmatch(path.name)
            if match and path.is_dir() and not path.is_symlink():
                found.append((int(match[1]), path))
    return [path for _, path in sorted(found)]


def last_good(checkpoints_dir: Path) -> tuple[Path, Manifest] | None:
    """The checkpoint of the highest step that verifies; those passed over are logged."""
    for path in reversed(list_checkpoints(checkpoints_dir)):
        try:
            return path, verify(path)
        except CheckpointDamaged as damage:
            logger.warning("Not resuming from a checkpoint: %s", damage)
    return None


def prune(checkpoints_dir: Path, keep: int, protected_step: int | None) -> None:
    """Delete the oldest checkpoints beyond ``keep``; never the newest or ``protected_step``'s.

    To be called after the newest was sealed, so that a good one exists at every moment.
    """
    paths = list_checkpoints(checkpoints_dir)
    spared = {paths[-1].name, f"checkpoint-{protected_step}"} if paths else set()
    surplus = len(paths) - max(keep, len(spared & {path.name for path in paths}))
    for path in paths:
        if surplus <= 0:
            return
        if path.name not in spared:
            # Without its manifest first, a deletion that is cut short leaves no half checkpoint.
            (path / MANIFEST_NAME).unlink(missing_ok=True)
            shutil.rmtree(path)
            surplus -= 1


def write_durably(path: Path, content: bytes) -> None:
    """Write ``content`` so that after a crash ``path`` holds all of it or what it held before."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (MANIFEST_NAME, MANIFEST_NAME + ".partial")
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
