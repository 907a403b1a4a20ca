"""Limits of a process that a service needs: open files, and semaphores in shared memory.

What lacks is said before anything starts: later it would be a service that ends and starts again.
"""

from __future__ import annotations

import multiprocessing
import resource

from trainyard.contract.error_tree import TrainyardError

OPEN_FILES_MIN = 512
"""The embedded Redis gets by on half of it, with the clients of one machine and eight slots."""
OPEN_FILES_WANTED = 4096


class LimitTooLow(TrainyardError):
    """The machine, or who started this process, allows too little."""


def check_limits() -> None:
    """Raises LimitTooLow. A soft limit of open files is raised, so far as the hard one lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES_WANTED and soft != resource.RLIM_INFINITY:
        soft = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(OPEN_FILES_WANTED, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < OPEN_FILES_MIN:
            raise LimitTooLow(
                f"a process may have {soft} open files here, and {OPEN_FILES_MIN} are needed",
                "raise the hard limit: `ulimit -Hn 4096`, LimitNOFILE= in a systemd unit, "
                "`ulimits: nofile:` in compose",
            )
    try:
        multiprocessing.get_context("fork").Lock()
    except OSError as error:
        raise LimitTooLow(
            f"no semaphore can be made in /dev/shm ({error.strerror})",
            "mount /dev/shm writable; Celery's pool needs it",
        ) from error
