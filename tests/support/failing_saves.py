"""Saves of a checkpoint, each in a process of its own on a disk that fails: run as a module.

Prints a line of JSON for each: how it failed, at which operation, what became of the process, and
leaves the folder as it was found afterwards.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tasks.checkpoints import folder as checkpoint_folder
from tasks.checkpoints.folder import PARTIAL_DIR_NAME, begin_branch, clear_partial, finish, prune
from tests.support.failing_disk import HOWS, FailingDisk
from trainyard.contract.checkpoint_manifest import Manifest

OLD, NEW = 10, 20
"""Steps. Of the new one there is another, of a branch that was left."""
SAVED, UNDISTURBED, FAILED = 0, 2, 3
"""Exit codes of a process that saves."""
_UNKNOWN_FLAG = 1 << 20
"""As of a file system that cannot swap two names in one step."""


def contents(step: int, attempt: int) -> str:
    """What stands in the files of a checkpoint."""
    return f"weights of step {step} of attempt {attempt}"


def begin(checkpoints: Path) -> None:
    """What lies there before: attempt 2 goes on from step 10, and will come to 20 again."""
    for step in (OLD, NEW):
        save(checkpoints, step, attempt=1, keep=9)
    begin_branch(checkpoints, 2, f"checkpoint-{OLD}")


def save(checkpoints: Path, step: int, attempt: int, keep: int) -> None:
    """As the training's own: files, manifest, name, a look at it, the report, older ones away."""
    partial = checkpoints / PARTIAL_DIR_NAME / f"checkpoint-{step}"
    (partial / "inner").mkdir(parents=True, exist_ok=True)
    (partial / "model.safetensors").write_text(contents(step, attempt))
    (partial / "inner" / "optimizer.pt").write_text(contents(step, attempt) * 40)
    manifest = Manifest(job_id="j", attempt=attempt, step=step, epoch=1)
    folder, _ = finish(partial, checkpoints, manifest)
    (checkpoints.parent / "reported").write_text(folder.name)
    prune(checkpoints, keep, None)


def strike(before: Path, place: Path, at: int, how: str) -> int:
    """One save with the fault at its operation ``at``, then one without; code of the first."""
    checkpoints = place / "checkpoints"
    shutil.copytree(before, checkpoints)

    def disturbed() -> int:
        disk = FailingDisk(checkpoints, at, how)
        try:
            save(checkpoints, NEW, attempt=2, keep=1)
        except OSError as error:
            assert error.errno in (errno.ENOSPC, errno.EIO), error
            return FAILED
        return SAVED if disk.struck else UNDISTURBED

    def afterwards() -> int:
        clear_partial(checkpoints)
        save(checkpoints, NEW + 10, attempt=3, keep=1)
        return SAVED

    code = in_a_fork(disturbed)
    shutil.copytree(place, place.with_suffix(".found"))
    assert in_a_fork(afterwards) == SAVED
    return code


def in_a_fork(work: Callable[[], int]) -> int:
    """Exit code of ``work`` in a fork; negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: Path, *, swaps: bool) -> None:
    """Each fault at each operation, until a save has no more of them."""
    os.fsync = lambda _: None  # nothing here outlives the machine
    before = folder / "before" / "checkpoints"
    begin(before)
    if not swaps:
        checkpoint_folder._RENAME_EXCHANGE = _UNKNOWN_FLAG
    for how in HOWS:
        for at in itertools.count(1):
            place = folder / f"{how}-{at}"
            code = strike(before, place, at, how)
            if code == UNDISTURBED:
                break
            print(json.dumps([how, at, code, str(place)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), swaps=sys.argv[2] == "swaps")
