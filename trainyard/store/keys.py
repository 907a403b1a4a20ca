"""Keys of Redis: every name that the product has there, for Python and (see ``scripts``) for Lua.

They are on the wire: a home that an older version made has them too.
"""

from __future__ import annotations

from enum import StrEnum


class Key(StrEnum):
    """A key of all jobs or slots, or (``WAKE``, ``ASKED``) a channel.

    Beside ``WAKE`` each slot has a channel of its own (:func:`wake_channel`).
    """

    JOBS = "trainyard:jobs"
    WAITING = "trainyard:waiting"
    SLIP_INS = "trainyard:slip-ins"
    MADE_WAY = "trainyard:made-way"
    OCCUPYING = "trainyard:occupying"
    ORDER = "trainyard:order"
    DURATIONS = "trainyard:durations"
    TOTALS = "trainyard:totals"
    UNDELIVERED = "trainyard:undelivered"
    ACCEPTED = "trainyard:accepted"
    WAKE = "trainyard:wake"
    ASKED = "trainyard:asked"
    SET_ASIDE = "trainyard:set-aside"
    SET_ASIDE_COUNTS = "trainyard:set-aside-counts"
    PULL = "trainyard:pull"
    MISSING_ROUTES = "trainyard:missing-routes"
    HOST_WAITS = "trainyard:host-waits"
    HELD = "trainyard:held"
    COURIERS = "trainyard:couriers"
    SLOTS = "trainyard:slots"
    SLOT_INFO = "trainyard:slot-info"
    SLOT_STAMPS = "trainyard:slot-stamps"
    SLOTS_OUT_OF_SERVICE = "trainyard:slots-out-of-service"
    SLOT_LEASES = "trainyard:slot-leases"
    DRAINS = "trainyard:drained"
    PROBE = "trainyard:probe"
    PINNED_QUEUES = "trainyard:pinned-queues"
    GENERATIONS = "trainyard:generations"
    ENDS = "trainyard:ends"
    WEBHOOK_WANTED = "trainyard:webhook-wanted"
    USAGE = "trainyard:usage"  # what each month's sums lie below


DUTY = "trainyard:duty:"
"""Before the name of some work, the key of who has the duty."""


def wake_channel(slot: str) -> str:
    """The channel of the courier beside a slot; of those beside no slot, where it is ""."""
    return f"{Key.WAKE}:{slot}"


class JobKey(StrEnum):
    """A kind of key that each job has; all of a job's go when it is pruned.

    ``GROUP`` is a sweep's, by the id of that, and goes with the last of its jobs.
    """

    JOB = "job"
    REQUEST = "request"
    TOKEN = "token"  # noqa: S105  # a kind of key
    DATASET_URL = "dataset-url"
    EVENTS = "events"
    LOG_INDEX = "log-index"
    CUT_NOTES = "cut-notes"
    STATUS_INDEX = "status-index"
    DELIVERY = "delivery"
    DELIVERY_LOCK = "delivery-lock"
    AGAIN = "again"
    FINE_TUNING = "fine-tuning"
    FOLLOWERS = "followers"
    GROUP = "group"

    def of(self, job_id: str) -> str:
        """The key of one job."""
        return f"trainyard:{self}:{job_id}"


class GenerationKey(StrEnum):
    """A kind of key that each generation has, for as long as somebody waits for its answer."""

    ASKED = "generation"
    SAID = "generation-said"
    SERVED = "generation-served"
    WAY = "generation-way"

    def of(self, generation_id: str) -> str:
        """The key of one generation."""
        return f"trainyard:{self}:{generation_id}"
