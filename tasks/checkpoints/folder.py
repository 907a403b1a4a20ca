"""Checkpoint folder of a job: sealed with a manifest, published, listed, pruned.

The Trainer writes a checkpoint's files one by one, and a resume from a half-written one goes on
silently with a fresh optimizer. So the manifest (``trainyard.contract.checkpoint_manifest``) is
written after the files are on the disk (fsync), by an atomic rename, and the folder gets its name
last (:func:`publish`).

Checkpoints are ordered by attempt, then step: if a person goes back to an earlier one, or to
the start, those of older attempts are a branch that was left, and are not used any more
(:func:`begin_branch`).

Optimizer, scheduler and RNG files are torch's; transformers loads them with ``weights_only``.
``training_args.bin``, a plain pickle that no resume reads, is removed.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import shutil
from pathlib import Path

from pydantic import BaseModel

from trainyard.contract.checkpoint_manifest import (
    MANIFEST_NAME,
    CheckpointDamaged,
    Manifest,
    ManifestFile,
    read_manifest,
    read_sealed,
    sealed_json,
    sha256_of,
    verify,
)
from trainyard.durable_files import sync, write_durably

BRANCH_NAME = "branch.json"
PARTIAL_DIR_NAME = ".partial"
"""Where checkpoints are written, beside the finished ones."""
PICKLED_ARGUMENTS_NAME = "training_args.bin"
_FOLDER = re.compile(r"checkpoint-([0-9]+)")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Of ``renameat2(2)``: swap two names in one step."""

logger = logging.getLogger(__name__)


class Branch(BaseModel):
    """The newest point that a person chose to go on from: ``checkpoint`` (its folder's name), or
    the start if None. Only it and checkpoints since ``attempt`` are gone on from."""

    attempt: int
    checkpoint: str | None

    def holds(self, name: str, manifest: Manifest) -> bool:
        """Whether a checkpoint belongs to this branch."""
        return manifest.attempt >= self.attempt or name == self.checkpoint


def clear_partial(checkpoints_dir: Path) -> None:
    """Delete what saves that were cut short have left; to be called before the first save."""
    partial = checkpoints_dir / PARTIAL_DIR_NAME
    if partial.exists():
        shutil.rmtree(partial)


def finish(partial: Path, checkpoints_dir: Path, manifest: Manifest) -> tuple[Path, Manifest]:
    """Make what lies in ``partial`` a checkpoint; returns its place, and what is found there.

    Raises OSError, or CheckpointDamaged if the disk gives back other than was written.
    """
    seal(partial, manifest)
    folder = publish(partial, checkpoints_dir)
    return folder, verify(folder)


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Bring the checkpoint in ``folder`` to the disk and write its manifest; returns it filled."""
    (folder / PICKLED_ARGUMENTS_NAME).unlink(missing_ok=True)
    files = {}
    for path in _files(folder):
        files[str(path.relative_to(folder))] = ManifestFile(
            size=path.stat().st_size, sha256=sha256_of(path)
        )
        sync(path)
    for inner in folder.rglob("*"):
        if inner.is_dir():
            sync(inner)
    sealed = manifest.model_copy(update={"files": files})
    write_durably(folder / MANIFEST_NAME, sealed_json(sealed))
    sync(folder.parent)
    return sealed


def publish(partial: Path, checkpoints_dir: Path) -> Path:
    """Move a sealed checkpoint among the finished ones; returns its place.

    One of the same step, of an older attempt, is replaced in one step.
    """
    target = checkpoints_dir / partial.name
    if target.exists():
        exchange(partial, target)
        shutil.rmtree(partial)
    else:
        partial.rename(target)
    sync(checkpoints_dir)
    return target


def exchange(one: Path, other: Path) -> None:
    """Swap the names of two folders; in two steps if the file system cannot do it in one."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
    if done == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), str(other))
    aside = one.with_name(f"{one.name}.replaced")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def list_checkpoints(checkpoints_dir: Path) -> list[Path]:
    """The checkpoint folders, finished or not, oldest step first."""
    found = []
    if checkpoints_dir.is_dir():
        for path in checkpoints_dir.iterdir():
            match = _FOLDER.fullmatch(path.name)
            if match and path.is_dir() and not path.is_symlink():
                found.append((int(match[1]), path))
    return [path for _, path in sorted(found)]


def begin_branch(checkpoints_dir: Path, attempt: int, checkpoint: str | None) -> None:
    """Note that ``attempt`` goes on from ``checkpoint`` (a folder's name; None: the start).

    Later attempts then never fall back to what older attempts wrote beyond it.
    """
    checkpoints_dir.mkdir(parents=True, exist_ok=True)
    branch = Branch(attempt=attempt, checkpoint=checkpoint)
    write_durably(checkpoints_dir / BRANCH_NAME, sealed_json(branch))


def _branch(checkpoints_dir: Path) -> Branch:
    path = checkpoints_dir / BRANCH_NAME
    if not path.exists():
        return Branch(attempt=0, checkpoint=None)
    try:
        return read_sealed(Branch, path.read_bytes())
    except ValueError as error:
        raise CheckpointDamaged(f"{BRANCH_NAME} is unreadable: {error}") from error


def last_good(checkpoints_dir: Path) -> tuple[Path, Manifest] | None:
    """The newest checkpoint that verifies; those passed over are logged.

    Raises CheckpointDamaged if it cannot be known which are those of the branch.
    """
    branch = _branch(checkpoints_dir)
    found = []
    for path in reversed(list_checkpoints(checkpoints_dir)):
        try:
            manifest = read_manifest(path)
        except CheckpointDamaged as damage:
            logger.warning("Not resuming from a checkpoint: %s", damage)
            continue
        if branch.holds(path.name, manifest):
            found.append((manifest.attempt, manifest.step, path))
    for _, _, path in sorted(found, reverse=True):
        try:
            return path, verify(path)
        except CheckpointDamaged as damage:
            logger.warning("Not resuming from a checkpoint: %s", damage)
    return None


def best_checkpoint(checkpoints_dir: Path, *, greater: bool) -> Path | None:
    """The checkpoint with the best ``metric``, of those that have one; the newest of equal ones."""
    branch, found = _branch(checkpoints_dir), list[tuple[float, int, Path]]()
    for path in list_checkpoints(checkpoints_dir):
        try:
            manifest = read_manifest(path)
        except CheckpointDamaged:
            continue
        if manifest.metric is not None and branch.holds(path.name, manifest):
            value = manifest.metric if greater else -manifest.metric
            found.append((value, manifest.step, path))
    return max(found)[2] if found else None


def prune(checkpoints_dir: Path, keep: int, best: Path | None) -> None:
    """Delete the oldest checkpoints beyond ``keep``; never the newest whole one, nor ``best``.

    To be called after the newest was published, so that a good one exists at every moment.
    """
    paths = _oldest_first(checkpoints_dir)
    spared = {paths[-1], best} if paths else set()
    surplus = len(paths) - max(keep, len(spared & set(paths)))
    for path in paths:
        if surplus <= 0:
            return
        if path not in spared:
            # Without its manifest first, a deletion that is cut short leaves no half checkpoint.
            (path / MANIFEST_NAME).unlink(missing_ok=True)
            shutil.rmtree(path)
            surplus -= 1


def _oldest_first(checkpoints_dir: Path) -> list[Path]:
    """Checkpoints by age: damaged ones, those of a branch that was left, by attempt, by step."""
    branch = _branch(checkpoints_dir)

    def age(path: Path) -> tuple[bool, int]:
        try:
            manifest = read_manifest(path)
        except CheckpointDamaged:
            return (False, 0)
        return (branch.holds(path.name, manifest), manifest.attempt)

    return sorted(list_checkpoints(checkpoints_dir), key=age)


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (MANIFEST_NAME, MANIFEST_NAME + ".partial")
    )
