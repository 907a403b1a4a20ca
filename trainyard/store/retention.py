"""Retention: what is older than RETENTION_DAYS goes, jobs with their tokens, streams and caches.

The trained models stay, unless a person asks: they are what it was all for. Every courier does
this by itself, once an hour; `trainyard prune` does it at once. Of the data sets' cache each entry
goes by its own last use (`cache_entries`), and none that was used since the oldest job that has not
ended was made: that job may be reading it, or go on from it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from trainyard.contract.job_folder import MODEL
from trainyard.contract.names import REJECTED, REPLIES
from trainyard.contract.statuses import TERMINAL
from trainyard.settings import Settings
from trainyard.store.keys import JobKey, Key
from trainyard.store.scripts import script

EVERY_S = 3600.0
DAY_S = 24 * 3600.0
logger = logging.getLogger(__name__)


@dataclass
class Pruned:
    """How much went. ``jobs``: forgotten in Redis; ``stream_entries``: replies and rejections;
    ``caches``: entries of caches; ``bytes``: of folders and caches below TRAINYARD_HOME on this
    host."""

    jobs: int = 0
    stream_entries: int = 0
    folders: int = 0
    caches: int = 0
    bytes: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class Retention:
    """Prunes Redis and this host's TRAINYARD_HOME. ``redis`` must decode responses to str."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self.home = settings.trainyard_home
        self.days = settings.retention_days
        self._prune = script(redis, "prune")

    def run(self, stop: threading.Event) -> None:
        """Prune once an hour until ``stop`` is set."""
        while not stop.wait(EVERY_S):
            try:
                pruned = self.prune(self.days)
                logger.info("pruned: %s", pruned.as_dict(), extra={"action": "prune"})
            except RedisError as error:
                logger.warning("prune: Redis is away: %s", error, extra={"action": "prune"})
            except OSError as error:
                logger.warning("prune: %s", error, extra={"action": "prune"})

    def prune(self, days: float, *, models: bool = False) -> Pruned:
        """Remove what is older than ``days``; trained models only with ``models``.

        Raises RedisError, and OSError if a folder cannot be removed.
        """
        pruned = Pruned()
        seconds, micros = self.redis.time()
        now_ms = seconds * 1000 + micros // 1000
        cutoff_ms = max(int(now_ms - days * DAY_S * 1000), 0)
        for job_id in self.redis.zrangebyscore(Key.JOBS, "-inf", cutoff_ms):
            pruned.jobs += int(self._prune(args=[job_id, cutoff_ms]))
        for stream in (REPLIES, REJECTED):
            pruned.stream_entries += self.redis.xtrim(stream, minid=cutoff_ms, approximate=False)
        self._prune_home(time.time() - days * DAY_S, models, pruned)
        unused_for_s = (now_ms - self._oldest_unfinished(cutoff_ms)) / 1000
        self._prune_caches(time.time() - unused_for_s, pruned)
        return pruned

    def _oldest_unfinished(self, cutoff_ms: int) -> float:
        """When the oldest job was made that has not ended, in ms; at the latest ``cutoff_ms``."""
        jobs = self.redis.zrangebyscore(Key.JOBS, "-inf", cutoff_ms, withscores=True)
        for job_id, made_ms in jobs:
            status = self.redis.hget(JobKey.JOB.of(job_id), "status")
            if status is not None and status not in TERMINAL:
                return float(made_ms)
        return cutoff_ms

    def _prune_home(self, cutoff: float, models: bool, pruned: Pruned) -> None:
        for folder in _old(self.home / "jobs", cutoff):
            if not self.redis.exists(JobKey.JOB.of(folder.name)):
                parts = [folder] if models else [p for p in folder.iterdir() if p.name != MODEL]
                pruned.bytes += sum(remove(part) for part in parts)
                pruned.folders += bool(parts)
                if not models and not any(folder.iterdir()):
                    folder.rmdir()

    def _prune_caches(self, cutoff: float, pruned: Pruned) -> None:
        datasets = self.home / "cache" / "datasets"
        for cache in _old(self.home / "cache", cutoff):
            if cache != datasets:
                pruned.bytes += remove(cache)
                pruned.caches += 1
        for entries in [*datasets.glob("*"), *(datasets / "downloads").glob("*")]:
            if entries != datasets / "downloads" and entries.is_dir():
                for size in prune_entries(entries, cutoff):
                    pruned.bytes += size
                    pruned.caches += 1


def _old(folder: Path, cutoff: float) -> list[Path]:
    """What lies in ``folder`` and was neither changed nor read since ``cutoff``."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if last_used(path) < cutoff]


def prune_entries(folder: Path, cutoff: float) -> Iterator[int]:
    """Remove the entries of ``folder`` that were not used since ``cutoff``; yields their bytes."""
    entries: dict[str, set[Path]] = defaultdict(set)
    for path in folder.iterdir():
        entries[path.name.partition(".")[0]].add(path)
    entries.pop("", None)  # the lock
    for name, paths in entries.items():
        size = None
        with (folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            paths.add(folder / f"{name}.used")  # it may be new
            there = [path for path in paths if os.path.lexists(path)]
            if there and max(last_used(path) for path in there) < cutoff:
                # Rows go before their facts: without these they cannot be read.
                size = sum(remove(path) for path in sorted(there))
        if size is not None:
            yield size


def last_used(path: Path) -> float:
    """A folder's own times say when it was listed: its files' count, and when it changed."""
    inside = [p.lstat() for p in path.rglob("*") if not p.is_dir()] if path.is_dir() else []
    times = [max(status.st_mtime, status.st_atime) for status in inside]
    return max([path.lstat().st_mtime, *times])


def remove(path: Path) -> int:
    """Delete a file or a folder, which is never seen in part; returns its bytes."""
    if path.is_dir() and not path.is_symlink():
        size = sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())
        leaving = path.rename(path.with_name(f"pruned-{uuid.uuid4().hex}"))
        shutil.rmtree(leaving)
        return size
    size = path.lstat().st_size
    path.unlink()
    return size
