"""Names of slots, checked before a worker starts: no two hosts go by one."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from redis.exceptions import RedisError

from trainyard.home import home_id
from trainyard.scheduling.slots import SlotRegistry
from trainyard.settings import Settings
from trainyard.store.connection import connect

logger = logging.getLogger(__name__)


def check_names(slots: Iterable[str], current: Settings) -> None:
    """Raises NameTaken if a slot of another host has one of these names; not if Redis is away."""
    with connect(current.redis_location, retries=0) as redis:
        try:
            for slot in slots:
                SlotRegistry(redis).check_name(slot, home_id(current.trainyard_home))
        except RedisError as error:
            logger.warning("names not checked: %s", error, extra={"action": "redis_away"})
