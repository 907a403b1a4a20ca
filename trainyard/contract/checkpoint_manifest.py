"""Manifest of a checkpoint: sizes and hashes, written last, which make a folder one.

Part of the contract, as a file: the training writes it and reads it back, and the bridge looks at
it before it lets a person resume from a checkpoint. Its own hash stands in it: a flipped bit in an
attempt's number would make a checkpoint of a branch that was left the newest. Imports only
pydantic.

Exceptions:

    CheckpointDamaged (TrainyardError)    a checkpoint is incomplete or does not match its manifest
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.job_folder import checkpoint_name

MANIFEST_NAME = "manifest.json"
_OWN_HASH = "sha256"
Record = TypeVar("Record", bound=BaseModel)
_CHUNK_BYTES = 1024 * 1024


class ManifestFile(BaseModel):
    """One file of a checkpoint."""

    size: int
    sha256: str


class Manifest(BaseModel):
    """Manifest of a checkpoint. ``files`` maps relative paths.

    ``fingerprint`` tells of which training it is: what must agree with a resume, by name (see
    ``tasks.checkpoints.resume``; ``model`` and ``method`` are as the request names them).
    ``batch_size`` and ``accumulation``: the micro-batch and how many make a step; ``metric``: the
    value that the best checkpoint is chosen by, if it was evaluated.
    """

    job_id: str
    attempt: int
    step: int
    epoch: float
    fingerprint: dict[str, str] = {}
    train_loss: float | None = None
    eval_loss: float | None = None
    batch_size: int = 0
    accumulation: int = 0
    metric: float | None = None
    files: dict[str, ManifestFile] = {}

    @property
    def size_bytes(self) -> int:
        """Size of all files, without the manifest itself."""
        return sum(file.size for file in self.files.values())


class CheckpointDamaged(TrainyardError):
    """A checkpoint is incomplete or does not match its manifest; the text says why."""


def sealed_json(record: BaseModel) -> bytes:
    """The fields of ``record`` as JSON, and the hash of them all."""
    fields = json.loads(record.model_dump_json())
    return json.dumps({**fields, _OWN_HASH: _hash_of(fields)}, indent=1).encode()


def read_sealed(kind: type[Record], content: bytes) -> Record:
    """What :func:`sealed_json` made. Raises ValueError.

    An older version wrote no hash; then it may have no other field either, since one that is
    unknown may be the hash, its name damaged.
    """
    fields = json.loads(content)
    if not isinstance(fields, dict):
        raise ValueError("it is no object")
    own = fields.pop(_OWN_HASH, None)
    if own is None and not fields.keys() <= kind.model_fields.keys():
        raise ValueError(f"it has neither a hash nor only fields of {kind.__name__}")
    if own is not None and own != _hash_of(fields):
        raise ValueError("its contents are other than were written")
    return kind.model_validate(fields)


def _hash_of(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint, its files not yet looked at. Raises CheckpointDamaged."""
    try:
        manifest = read_sealed(Manifest, (folder / MANIFEST_NAME).read_bytes())
    except FileNotFoundError:
        raise CheckpointDamaged(f"{folder.name} has no manifest: it was never finished") from None
    except (ValueError, OSError) as error:
        raise CheckpointDamaged(f"{folder.name} has an unreadable manifest: {error}") from error
    if folder.name != checkpoint_name(manifest.step):
        raise CheckpointDamaged(f"{folder.name} holds the manifest of step {manifest.step}")
    return manifest


def verify(folder: Path, *, hashes: bool = True) -> Manifest:
    """Return the manifest of a checkpoint that matches it. Raises CheckpointDamaged.

    ``hashes=False`` looks only at names and sizes, which takes no time.
    """
    manifest = read_manifest(folder)
    if not manifest.files:
        raise CheckpointDamaged(f"{folder.name} has a manifest that names no file")
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise CheckpointDamaged(f"{folder.name} lacks {name}")
        if path.stat().st_size != expected.size:
            raise CheckpointDamaged(f"{name} of {folder.name} has another size than was written")
        if hashes and sha256_of(path) != expected.sha256:
            raise CheckpointDamaged(f"{name} of {folder.name} has other contents than was written")
    return manifest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
