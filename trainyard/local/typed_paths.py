"""Paths as people type them: what lies here is named as a worker of this machine will find it.

A worker looks a relative path up below DATASET_ROOTS or MODEL_ROOTS; a person types what the shell
completes. Whether that fits is known at once if the yard is this machine's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.fields.job_reference import PREFIX

_SIMILAR = 0.75
"""Of difflib's ratio: names that share less are no slip of the hand."""


class PathRefused(TrainyardError):
    """A data set or a model that no job of this yard could read."""


@dataclass(frozen=True)
class Place:
    """What is looked up, and below which folders: ``setting`` names them.

    ``bare_at_hub``: a name without an owner may be one at the hub.
    """

    what: str
    setting: str
    roots: Sequence[Path]
    bare_at_hub: bool = False


def named_for_worker(typed: str, place: Place) -> str:
    """The name under which a worker finds what the person means by ``typed``.

    It stays as it is if a root has it, or if nothing of that name lies here: it may be a name at
    the hub. Raises PathRefused for what lies here, but below no root, though a link below one may
    lead to it, and for what cannot be looked at.
    """
    try:
        return _named(typed, place)
    except (OSError, RuntimeError) as error:  # length, rights, a user's home that is none
        reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise PathRefused(
            f"The path of the {place.what}, {typed[:200]!r}, cannot be looked at: {reason}.",
            "Check the path.",
        ) from error


def _named(typed: str, place: Place) -> str:
    if "://" in typed or beneath(typed, place.roots):
        return typed
    places = (Path(typed).expanduser(), *(root / typed for root in place.roots))
    here = next((path for path in places if path.exists()), None)
    if here is None:
        return typed
    found = here.resolve()
    for root in place.roots:
        if found.is_relative_to(root):
            below = str(found.relative_to(root))
            first = next(other / below for other in place.roots if (other / below).exists())
            return below if first == found else str(found)
    listed = ", ".join(map(str, place.roots)) or "no folder"
    raise PathRefused(
        f"The {place.what} {typed!r} lies outside of the folders that jobs may read: {listed}.",
        f"Move it there, or start the services with its folder in {place.setting}.",
    )


def refuse_missing(name: str, place: Place) -> None:
    """Raise PathRefused for a name that no root has, and that is none at the hub.

    Names with an owner (``owner/name``) are the hub's unless a folder here is called as the owner,
    and a bare one may be, unless it is almost that of something here.
    """
    if "://" in name or beneath(name, place.roots):
        return
    if name.startswith(PREFIX):  # the bridge knows the jobs
        return
    owner, has_owner, _ = name.partition("/")
    here = any((folder / owner).is_dir() for folder in (Path(), *place.roots))
    if has_owner and owner[:1] not in ("", ".", "~") and not here:
        return
    known = [path for root in place.roots if root.is_dir() for path in root.iterdir()]
    meant = _meant(Path(name), known)
    if not meant and place.bare_at_hub and "/" not in name:
        return
    listed = ", ".join(map(str, place.roots)) or "no folder"
    raise PathRefused(
        f"No such {place.what}: {name!r} (looked in {listed}).",
        f"Did you mean {meant!r}? One at the hub has its owner's name before its own."
        if meant
        else f"Check the path; {place.setting} names the folders.",
    )


def beneath(name: str, roots: Sequence[Path]) -> Path | None:
    """Where a root has it. An absolute path lies where it says, as does one with ``..``."""
    return next((root / name for root in roots if _lies_in(root / name, roots)), None)


def _lies_in(path: Path, roots: Sequence[Path]) -> bool:
    return path.exists() and any(path.resolve().is_relative_to(root.resolve()) for root in roots)


def _meant(name: Path, known: Sequence[Path]) -> str | None:
    """What lies there under nearly the same name. A suffix that it shares is no likeness."""
    shared = {path.stem: path.name for path in known if path.suffix == name.suffix}
    others = {path.name: path.name for path in known if path.suffix != name.suffix}
    for asked, names in ((name.stem, shared), (name.name, others)):
        if close := get_close_matches(asked, names, n=1, cutoff=_SIMILAR):
            return names[close[0]]
    return None
