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
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.job_folder import MODEL
from trainyard.contract.names import REJECTED, REPLIES, UPLOADS
from trainyard.contract.statuses import TERMINAL
from trainyard.durable_files import size_of
from trainyard.settings import Settings
from trainyard.store.keys import JobKey, Key
from trainyard.store.scripts import script

EVERY_S = 3600.0
DAY_S = 24 * 3600.0
_FOREVER_MS = 1 << 52
logger = logging.getLogger(__name__)


class CannotRemove(TrainyardError):
    """A job that is not there, has not ended, or whose reports still wait."""


@dataclass
class Pruned:
    """How much went. ``jobs``: forgotten in Redis; ``stream_entries``: replies and rejections;
    ``folders`` of jobs, ``models_kept`` of them with their model left; ``caches``: entries of
    caches; ``uploads``: files of OpenAI's clients; ``bytes``: of all these below TRAINYARD_HOME on
    this host."""

    jobs: int = 0
    stream_entries: int = 0
    folders: int = 0
    models_kept: int = 0
    caches: int = 0
    uploads: int = 0
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
        self._dry = False

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

    def remove(self, job_id: str) -> Pruned:
        """Remove one job that has ended: what Redis has of it, and its folder with its model.

        Raises CannotRemove, RedisError, and OSError if the folder cannot be removed.
        """
        status = self.redis.hget(JobKey.JOB.of(job_id), "status")
        folder = self.home / "jobs" / job_id
        if status is None and not folder.is_dir():
            raise CannotRemove(f"there is no job {job_id}.", "`trainyard ps` lists them.")
        if status is not None and status not in TERMINAL:
            raise CannotRemove(f"{job_id} is {status}.", f"End it: `trainyard cancel {job_id}`.")
        pruned = Pruned()
        if status is not None:
            pruned.jobs = int(self._prune(args=[job_id, _FOREVER_MS, ""]))
            if not pruned.jobs:
                raise CannotRemove(
                    f"the backend has not got every report of {job_id} yet.",
                    f"Wait, or see `trainyard doctor`; `trainyard redeliver {job_id}` tries now.",
                )
        if folder.is_dir():
            pruned.folders, pruned.bytes = 1, remove(folder)
        return pruned

    def prune(self, days: float, *, models: bool = False, dry_run: bool = False) -> Pruned:
        """Remove what is older than ``days``; trained models only with ``models``.

        ``dry_run``: only count. Raises RedisError, and OSError if a folder cannot be removed.
        """
        pruned, self._dry = Pruned(), dry_run
        seconds, micros = self.redis.time()
        now_ms = seconds * 1000 + micros // 1000
        cutoff_ms = max(int(now_ms - days * DAY_S * 1000), 0)
        forgotten = {
            job_id
            for job_id in self.redis.zrangebyscore(Key.JOBS, "-inf", cutoff_ms)
            if self._prune(args=[job_id, cutoff_ms, "1" if dry_run else ""])
        }
        pruned.jobs = len(forgotten)
        for stream in (REPLIES, REJECTED):
            pruned.stream_entries += (
                len(self.redis.xrange(stream, max=f"({cutoff_ms}"))
                if dry_run
                else self.redis.xtrim(stream, minid=cutoff_ms, approximate=False)
            )
        self._prune_home(time.time() - days * DAY_S, models, pruned, forgotten)
        unused_for_s = (now_ms - self._oldest_unfinished(cutoff_ms)) / 1000
        self._prune_caches(time.time() - unused_for_s, pruned)
        for folder in _old(self.home / UPLOADS, time.time() - unused_for_s):
            pruned.bytes += self._take(folder)
            pruned.uploads += 1
        return pruned

    def _oldest_unfinished(self, cutoff_ms: int) -> float:
        """When the oldest job was made that has not ended, in ms; at the latest ``cutoff_ms``."""
        jobs = self.redis.zrangebyscore(Key.JOBS, "-inf", cutoff_ms, withscores=True)
        for job_id, made_ms in jobs:
            status = self.redis.hget(JobKey.JOB.of(job_id), "status")
            if status is not None and status not in TERMINAL:
                return float(made_ms)
        return cutoff_ms

    def _prune_home(
        self, cutoff: float, models: bool, pruned: Pruned, forgotten: Collection[str]
    ) -> None:
        for folder in _old(self.home / "jobs", cutoff):
            known = self.redis.exists(JobKey.JOB.of(folder.name))
            if known and folder.name not in forgotten:
                continue
            keeps = not models and (folder / MODEL).exists()
            parts = [p for p in folder.iterdir() if p.name != MODEL] if keeps else [folder]
            pruned.bytes += sum(map(self._take, parts))
            pruned.folders += bool(parts)
            pruned.models_kept += keeps and bool(parts)

    def _take(self, path: Path) -> int:
        return size_of(path) if self._dry else remove(path)

    def _prune_caches(self, cutoff: float, pruned: Pruned) -> None:
        datasets = self.home / "cache" / "datasets"
        for cache in _old(self.home / "cache", cutoff):
            if cache != datasets:
                pruned.bytes += self._take(cache)
                pruned.caches += 1
        for entries in [*datasets.glob("*"), *(datasets / "downloads").glob("*")]:
            if entries != datasets / "downloads" and entries.is_dir():
                for size in prune_entries(entries, cutoff, self._take):
                    pruned.bytes += size
                    pruned.caches += 1


def _old(folder: Path, cutoff: float) -> list[Path]:
    """What lies in ``folder`` and was neither changed nor read since ``cutoff``."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if last_used(path) < cutoff]


def remove(path: Path) -> int:
    """Delete a file or a folder, which is never seen in part; returns its bytes."""
    size = size_of(path)
    if path.is_dir() and not path.is_symlink():
        leaving = path.rename(path.with_name(f"pruned-{uuid.uuid4().hex}"))
        shutil.rmtree(leaving)
    else:
        path.unlink()
    return size


def prune_entries(
    folder: Path, cutoff: float, take: Callable[[Path], int] = remove
) -> Iterator[int]:
    """Remove the entries of ``folder`` that were not used since ``cutoff``; yields their bytes.

    ``take`` removes one file or folder, and says its bytes.
    """
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
                size = sum(take(path) for path in sorted(there))
        if size is not None:
            yield size


def last_used(path: Path) -> float:
    """UNIX time of the last use of ``path``. Of a folder its files' times count, and when it
    changed: its own time of access says only when it was listed."""
    inside = [p.lstat() for p in path.rglob("*") if not p.is_dir()] if path.is_dir() else []
    times = [max(status.st_mtime, status.st_atime) for status in inside]
    return max([path.lstat().st_mtime, *times])
