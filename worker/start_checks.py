"""Checks before a worker starts: whether it can be one slot on this Redis and this machine."""

from __future__ import annotations

import logging
from typing import Any

from celery import concurrency
from celery.concurrency.prefork import TaskPool
from redis.exceptions import RedisError

from trainyard.contract.error_tree import TrainyardError
from trainyard.redis_check.suitability import troubles
from trainyard.service.process_limits import check_limits
from trainyard.settings import Settings
from worker.slot_lease import NameLease

logger = logging.getLogger(__name__)


def exit_if_unfit(name: NameLease, worker: Any, current: Settings) -> None:
    """Take the slot's name for ``worker``, Celery's. Raises SystemExit with a sentence.

    Redis may be away (the name is taken when it is back), but not be one that lets jobs wait.
    """
    pool = concurrency.get_implementation(worker.pool_cls)
    if worker.concurrency != 1 or worker.options.get("autoscale") or not issubclass(pool, TaskPool):
        raise SystemExit(
            "worker: a slot runs one job at a time: -c 1, without --autoscale and --pool, and one "
            "worker per slot"
        )
    try:
        check_limits()
        for trouble in troubles(current.redis_location):
            if trouble.kind == "lasting":
                raise SystemExit(f"worker: {trouble.sentence}: {trouble.mend}")
        name.wait(current.lease_seconds)
    except TrainyardError as error:
        raise SystemExit(f"worker: {error}") from None
    except RedisError as error:
        logger.warning("name not taken yet: %s", error, extra={"action": "redis_away"})
