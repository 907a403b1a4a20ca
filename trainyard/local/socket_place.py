"""Place of a Unix socket: beside what it serves, or in a short private folder if that is no place.

The kernel takes 107 bytes of a socket's path, and some file systems (shared folders of a virtual
machine) take no socket at all.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from pathlib import Path

from trainyard.contract.error_tree import TrainyardError


def socket_place(folder: Path, name: str) -> Path:
    """Path of the socket ``name`` of ``folder``, the same at each call; nobody listens there now.

    Raises TrainyardError.
    """
    place = folder / name
    if _takes_sockets(place):
        return place
    short = _private_folder(folder) / name
    if _takes_sockets(short):
        return short
    raise TrainyardError(f"no Unix socket can be made as {place}, nor as {short}")


def leave_place(place: Path, folder: Path) -> None:
    """Take the socket of ``folder`` away when nobody listens there any more."""
    place.unlink(missing_ok=True)
    if place.parent != folder:
        place.parent.rmdir()


def _takes_sockets(place: Path) -> bool:
    place.unlink(missing_ok=True)  # of a server that was killed
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(place))
        except OSError:
            return False
    place.unlink()
    return True


def _private_folder(folder: Path) -> Path:
    """A folder of this user's alone below the temporary one, named after ``folder``."""
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"trainyard-{os.getuid()}-{name}"
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.lstat()
    if not private.is_dir() or private.is_symlink() or found.st_uid != os.getuid():
        raise TrainyardError(f"{private} is not this user's own folder", "remove it")
    private.chmod(0o700)
    return private
