"""Find the data set that a request names: below the roots that jobs may read, or elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tasks import sealed_secrets
from tasks.datasets.cache import cached
from tasks.datasets.sources.held_files import HeldFiles
from tasks.datasets.sources.names import is_data_file
from tasks.errors import DatasetError
from trainyard.contract.units import GB

_HUB_NAME = re.compile(
    r"(?!.*(?:--|\.\.))[A-Za-z0-9](?:[\w.-]*\w)?/[A-Za-z0-9](?:[\w.-]*\w)?(@[^/\s]+)?", re.ASCII
)


@dataclass(frozen=True)
class Located:
    """What to read: a file or folder, what people call it, and which subset of it is meant."""

    path: Path
    name: str
    subset: str | None = None
    held: HeldFiles | None = field(default=None, compare=False)

    def close(self) -> None:
        """It has been read: ``path`` is good no longer if it leads to what is held open."""
        if self.held is not None:
            self.held.close()


@dataclass(frozen=True)
class DownloadLimits:
    """``MAX_DOWNLOAD_GB`` in bytes, for what is fetched and what archives unpack to, and whether
    URLs may lead to private addresses. ``s3_buckets``: patterns of those that may be read from."""

    max_bytes: int = 50 * GB
    allow_private_urls: bool = False
    s3_buckets: tuple[str, ...] = ()


def locate_dataset(
    dataset_path: str,
    dataset_content: str | None,
    roots: Sequence[str],
    cache_dir: Path,
    limits: DownloadLimits = DownloadLimits(),
    subset: str | None = None,
) -> Located:
    """Return the file or folder to read, held open, or fetched where it is remote.

    ``subset`` is ``config.data.subset``; ``?name=`` at the end of an ``hf://`` says the same.

    ``dataset_content`` (JSONL text out of the request) wins over ``dataset_path`` and is written
    to the cache under its hash. A relative path that none of ``roots`` has, but that reads as a
    name at the hub (``owner/name``), is looked for there. Raises DatasetError.
    """
    if dataset_content:
        return Located(_store_inline(dataset_content, cache_dir), "dataset_content", subset)
    if "://" in dataset_path:
        return _fetched(dataset_path, cache_dir, limits, subset)
    try:
        path = resolve_beneath(dataset_path, roots)
    except NoSuchPath as error:
        if not _HUB_NAME.fullmatch(dataset_path) or is_data_file(Path(dataset_path)):
            raise
        try:
            return _fetched(dataset_path, cache_dir, limits, subset)
        except DatasetError as at_the_hub:
            raise DatasetError(
                f"{error.sentence} At the hub: {at_the_hub.sentence}", at_the_hub.mend
            ) from at_the_hub
    held = HeldFiles(path, [Path(root).resolve() for root in roots], cache_dir / "held")
    return Located(held.path, path.name, subset, held)


def _fetched(
    reference: str, cache_dir: Path, limits: DownloadLimits, subset: str | None
) -> Located:
    """What was fetched, by a child of this process if it takes a secret."""
    if not sealed_secrets.are_kept():
        return fetched(reference, cache_dir, limits, subset)
    found = sealed_secrets.fetch(
        {
            **{"what": "dataset", "reference": reference, "cache_dir": str(cache_dir)},
            **{"subset": subset, "limits": asdict(limits)},
        }
    )
    return Located(sealed_secrets.path_of(found), found["name"], found["subset"])


def fetched(reference: str, cache_dir: Path, limits: DownloadLimits, subset: str | None) -> Located:
    """What was fetched with what is in this process's environment. Raises DatasetError."""
    # Only a job with a remote data set pays for boto3 and what else this imports.
    from tasks.datasets.sources.remote import fetch, http  # noqa: PLC0415

    allowed = http.TransferLimits(
        limits.max_bytes, limits.allow_private_urls, s3_buckets=tuple(limits.s3_buckets)
    )
    if reference.startswith("hf://"):
        reference, _, name = reference.partition("?name=")
        subset = subset or name or None
    found = fetch.fetch(reference, cache_dir, allowed, subset)
    return Located(found.path, found.name, subset)


class NoSuchPath(DatasetError):
    """Nothing of that name is below any of the roots."""


def resolve_beneath(path: str, roots: Sequence[str]) -> Path:
    """Resolve ``path`` beneath one of ``roots``; a relative one is looked up in each in turn.

    Raises DatasetError where nothing is there, or where it lies outside of every root once
    symbolic links and ``..`` are resolved.
    """
    try:
        return _resolved_beneath(path, roots)
    except (
        ValueError,
        RuntimeError,
        OSError,
    ) as error:  # odd characters, links in a circle, length
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise DatasetError(
            f"The path of the data set, {path[:200]!r}, cannot be looked at: {reason}.",
            "Check dataset_path.",
        ) from error


def _resolved_beneath(path: str, roots: Sequence[str]) -> Path:
    resolved_roots = [Path(root).resolve() for root in roots]
    outside = False
    for root in resolved_roots:
        candidate = (root / path).resolve()
        if not any(candidate.is_relative_to(allowed) for allowed in resolved_roots):
            outside = True
        elif candidate.exists():
            _refuse_what_is_no_data(candidate, resolved_roots)
            return candidate
    listed = ", ".join(str(root) for root in resolved_roots) or "none"
    if outside:
        raise DatasetError(
            f"The data set {path!r} lies outside of the folders that jobs may read: {listed}.",
            "Move the file there, or start the worker with its folder in DATASET_ROOTS.",
        )
    raise NoSuchPath(
        f"No such data set: {path!r} (looked in {listed}).",
        "Check dataset_path; a relative path is looked up in each of DATASET_ROOTS.",
    )


def _refuse_what_is_no_data(found: Path, roots: Sequence[Path]) -> None:
    """A pipe or device never ends; links in a folder may point out of the roots."""
    if not (found.is_file() or found.is_dir()):
        raise DatasetError(f"The data set {found.name!r} is neither a file nor a folder.")
    for path in found.rglob("*") if found.is_dir() else ():
        if not any(path.resolve().is_relative_to(root) for root in roots):
            raise DatasetError(
                f"The data set folder {found.name!r} refers to a file outside of the folders "
                f"that jobs may read ({path.name}).",
                "Put the file itself there.",
            )


def _store_inline(content: str, cache_dir: Path) -> Path:
    payload = content.encode("utf-8", "surrogatepass")
    folder = cache_dir / "inline"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(payload).hexdigest()}.jsonl"
    if not cached(path):
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(payload)
        partial.replace(path)
    return path
