"""When an entry of the cache was used last: what retention goes by (``trainyard.store.retention``).

An entry is what lies in one folder of the cache under one name, up to its first dot. Its own times
do not tell: a mapped or memoised file is not read again, many disks keep no time of reading, and
whether a file has changed is told by its times.
"""

from __future__ import annotations

import fcntl
from pathlib import Path


def cached(path: Path) -> bool:
    """Whether ``path`` is in the cache; if so, it was used now, and is not pruned for that long.

    Retention locks the folder while it looks and removes: what is found here stays.
    """
    if not path.exists():
        return False
    with (path.parent / ".lock").open("a") as lock:  # of a folder NFS would allow none
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = path.exists()
        if found:
            (path.parent / f"{path.name.partition('.')[0]}.used").touch()
    return found
