"""Home, the folder TRAINYARD_HOME: made, and known by an id that hosts which share it share.

By the id a slot knows which job folders it can see.
"""

from __future__ import annotations

import os
import resource
import secrets
import stat
from pathlib import Path

from trainyard.settings import SettingsError

PRIVATE_UMASK = 0o077
_OTHERS = 0o067
"""All that is not the owner's, but for the way through, which an operator may give the group."""


def keep_private() -> None:
    """What this process and its children make is their user's alone, and no crash dumps memory.

    For the start of every entry point: requests, logs and caches of data sets lie in the home.
    """
    os.umask(PRIVATE_UMASK)
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def make_folder(home: Path) -> None:
    """Make ``home``, a TRAINYARD_HOME or below one. Raises SettingsError if it is of no use."""
    reason = None
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot be made ({error.strerror})"
    else:
        if not os.access(home, os.W_OK | os.X_OK):
            reason = "cannot be written to"
    if reason:
        raise SettingsError(
            f"TRAINYARD_HOME: {home} {reason}", "set it to a folder that you may write to"
        )


def home_id(home: Path) -> str:
    """The id in ``$TRAINYARD_HOME/home-id``, made at the first call."""
    path = home / "home-id"
    _close_to_others(home)
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        home.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".home-id.{os.getpid()}")
    temporary.write_text(secrets.token_hex(8))
    try:
        os.link(temporary, path)  # fails if another process was first
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_text().strip()


def _close_to_others(home: Path) -> None:
    """An older version's home was readable by every user of the host."""
    if not home.exists():
        return
    status = home.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.geteuid() and mode & _OTHERS:
        home.chmod(mode & ~_OTHERS)
