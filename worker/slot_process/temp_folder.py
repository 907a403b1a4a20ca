"""Temporary folder of an attempt's processes: multiprocessing puts its sockets there.

A process makes its own where none is there, and one that is killed leaves it for ever.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import get_temp_dir


@contextmanager
def shared_temp_folder() -> Iterator[None]:
    """One folder for all that is forked within; it is removed at the end.

    If there is no room for one, each process finds that out for itself, if it needs one.
    """
    folder = None
    with suppress(OSError):
        folder = get_temp_dir()
    try:
        yield
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
