"""Checks before a worker starts: whether it can be one slot on this Redis."""

from __future__ import annotations

from trainyard.contract.error_tree import TrainyardError
from trainyard.redis_check.suitability import troubles
from trainyard.settings import Settings
from worker.slot_names import check_names


def exit_if_unfit(slot: str, concurrency: int, current: Settings) -> None:
    """Raises SystemExit with a sentence. Redis may be away, but not be one that lets jobs wait."""
    if concurrency != 1:
        raise SystemExit("worker: a slot runs one job at a time: -c 1, and one worker per slot")
    for trouble in troubles(current.redis_location):
        if trouble.kind == "lasting":
            raise SystemExit(f"worker: {trouble.sentence}: {trouble.mend}")
    try:
        check_names([slot], current)
    except TrainyardError as error:
        raise SystemExit(f"worker: {error}") from None
