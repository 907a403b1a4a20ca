"""What is pruned, and what stays: on a real Redis and real folders."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any, Literal

import pytest

from backend_bridge.delivery.outbox import Outbox
from tasks.datasets.cache import cached
from tests.support.requests import TOKEN, start_request
from tests.support.store_calls import job_store
from tests.support.waiting import wait_for
from trainyard.contract.names import REPLIES
from trainyard.settings import RETENTION_DAYS_MAX, read_settings
from trainyard.store import retention
from trainyard.store.delivery_state import DeliveryProgress, Lane
from trainyard.store.retention import CannotRemove, Retention


class Yard:
    def __init__(self, redis: Any, home: Path) -> None:
        self.redis, self.home, self.store = redis, home, job_store(redis)
        self.retention = Retention(redis, read_settings(trainyard_home=home))

    def ended(self, job_id: str, *, delivered: bool = True) -> None:
        self.store.admit(start_request(job_id), slots=1)
        assert self.store.claim(job_id, 1, slot="s", worker="w")
        assert self.store.complete(job_id, 1, {})
        if delivered:
            outbox = Outbox(self.redis, lock_s=5)
            hold = outbox.claim(job_id)
            assert hold is not None
            last = self.redis.xrevrange(f"trainyard:events:{job_id}", count=1)[0][0]
            outbox.release(hold, due_in_ms=None, seen=last)

    def keys_of(self, job_id: str) -> list[str]:
        return [key for key in self.redis.scan_iter() if key.endswith(f":{job_id}")]

    def folder(self, job_id: str, *, days_old: float) -> Path:
        return aged(self.home / "jobs" / job_id, days_old, "train.log", "model/weights")


def aged(folder: Path, days: float, *files: str) -> Path:
    at = time.time() - days * 86400
    for name in files:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x" * 100)
        os.utime(file, (at, at))
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        os.utime(path, (at, at))
    return folder


@pytest.fixture
def yard(real_redis: Any, tmp_path: Path) -> Yard:
    return Yard(real_redis, tmp_path)


def test_an_ended_job_is_forgotten_with_its_token(yard: Yard) -> None:
    yard.ended("job-1")
    assert yard.retention.prune(30).jobs == 0
    assert yard.redis.get("trainyard:token:job-1") == TOKEN
    time.sleep(0.01)
    assert yard.retention.prune(0).jobs == 1
    assert yard.keys_of("job-1") == []
    assert yard.store.jobs() == []


def test_a_token_stays_until_the_last_delivery_and_the_time_after_it(yard: Yard) -> None:
    yard.ended("job-1", delivered=False)
    time.sleep(0.01)
    assert yard.retention.prune(0).jobs == 0
    yard.redis.hset("trainyard:job:job-1", "completed_at", 0)
    yard.redis.zrem("trainyard:undelivered", "job-1")
    yard.redis.hset("trainyard:delivery:job-1", "delivered_at", int(time.time() * 1000))
    assert yard.retention.prune(1).jobs == 0
    yard.redis.hset("trainyard:delivery:job-1", "delivered_at", 5)
    yard.redis.zadd("trainyard:jobs", {"job-1": 5})
    assert yard.retention.prune(1).jobs == 1


@pytest.mark.parametrize(
    ("refusal", "heard", "jobs"), [("refused", False, 1), ("refused", True, 0), ("", False, 0)]
)
def test_a_job_that_the_backend_never_knew_goes_as_others_do(
    yard: Yard, refusal: Literal["", "refused"], heard: bool, jobs: int
) -> None:
    yard.ended("job-1", delivered=False)
    status = Lane(failing="1-1", failures=9, refusal=refusal)
    progress = DeliveryProgress(status=status, heard=heard)
    yard.redis.hset("trainyard:delivery:job-1", "state", progress.to_hash()["state"])
    time.sleep(0.01)
    assert yard.retention.prune(0).jobs == jobs
    assert yard.redis.zcard("trainyard:undelivered") == 1 - jobs


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
def test_a_job_that_has_not_ended_stays(yard: Yard, state: str) -> None:
    yard.store.admit(start_request("job-1"), slots=1)
    if state == "running":
        assert yard.store.claim("job-1", 1, slot="s", worker="w")
    if state == "paused":
        yard.store.pause("job-1")
    yard.folder("job-1", days_old=40)
    time.sleep(0.01)
    assert yard.retention.prune(0).as_dict() == {
        "jobs": 0, "stream_entries": 0, "folders": 0, "models_kept": 0, "caches": 0, "uploads": 0,
        "bytes": 0,
    }  # fmt: skip
    assert yard.store.get("job-1") is not None


def test_a_rehearsal_changes_nothing_and_counts_the_same(yard: Yard) -> None:
    yard.ended("job-1")
    folder = yard.folder("job-1", days_old=40)
    time.sleep(0.01)
    said = yard.retention.prune(0, dry_run=True)
    assert (said.jobs, said.folders, said.models_kept) == (1, 1, 1)
    assert yard.store.get("job-1") is not None
    assert len(list(folder.iterdir())) > 1
    assert yard.retention.prune(0) == said
    assert [path.name for path in folder.iterdir()] == ["model"]


def test_one_job_is_removed_with_its_model_once_it_has_ended_and_is_reported(yard: Yard) -> None:
    yard.store.admit(start_request("runs"), slots=1)
    yard.ended("unsaid", delivered=False)
    yard.ended("ended")
    folder = yard.folder("ended", days_old=0)
    for job_id, why in (("runs", "queued"), ("unsaid", "every report"), ("none", "no job")):
        with pytest.raises(CannotRemove, match=why):
            yard.retention.remove(job_id)
    assert yard.retention.remove("ended").folders == 1
    assert yard.store.get("ended") is None
    assert not folder.exists()


def test_old_folders_and_caches_go_and_the_model_stays(yard: Yard) -> None:
    old, new = yard.folder("old", days_old=40), yard.folder("new", days_old=1)
    cache = aged(yard.home / "cache" / "tokenised", 40, "data.arrow")
    read_lately = aged(yard.home / "cache" / "model", 40, "weights")
    os.utime(read_lately / "weights", (time.time(), time.time() - 40 * 86400))
    pruned = yard.retention.prune(30)
    assert (pruned.folders, pruned.caches, pruned.bytes) == (1, 1, 200)
    assert [str(p.relative_to(old)) for p in old.rglob("*")] == ["model", "model/weights"]
    assert (new / "train.log").exists()
    assert (read_lately / "weights").exists()
    assert not cache.exists()


def test_each_entry_of_the_data_sets_cache_goes_by_its_own_last_use(yard: Yard) -> None:
    cache = yard.home / "cache" / "datasets"
    for folder in ("rows", "downloads/content"):
        aged(cache / folder, 40, "old.arrow", "old.json", "kept.arrow", "kept.json")
    aged(cache / "read" / "old", 40, "train.arrow")
    aged(cache / "read" / "kept", 40, "train.arrow")
    for name in ("rows/kept.arrow", "downloads/content/kept.json", "read/kept"):
        assert cached(cache / name)
    pruned = yard.retention.prune(30)
    assert (pruned.caches, pruned.bytes) == (3, 500)
    left = {str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file()}
    assert {name for name in left if not name.endswith((".lock", ".used"))} == {
        *("rows/kept.arrow", "rows/kept.json", "read/kept/train.arrow"),
        *("downloads/content/kept.arrow", "downloads/content/kept.json"),
    }
    assert not cached(cache / "rows" / "old.arrow")


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
def test_what_was_used_since_an_unfinished_job_was_made_stays(yard: Yard, state: str) -> None:
    now_ms, rows = int(time.time() * 1000), yard.home / "cache" / "datasets" / "rows"
    aged(rows, 40, "before.arrow")
    aged(rows, 35, "since.arrow")
    yard.store.admit(start_request("job-1"), slots=1)
    if state == "running":
        assert yard.store.claim("job-1", 1, slot="s", worker="w")
    if state == "paused":
        yard.store.pause("job-1")
    yard.redis.zadd("trainyard:jobs", {"job-1": now_ms - 37 * 86400 * 1000})
    assert yard.retention.prune(30).caches == 1
    assert [p.name for p in rows.glob("*.arrow")] == ["since.arrow"]
    yard.store.cancel("job-1")
    yard.redis.hset("trainyard:job:job-1", "status", "cancelled")
    assert yard.retention.prune(30).caches == 1


def test_an_entry_is_not_removed_between_a_look_and_a_use(yard: Yard) -> None:
    rows = aged(yard.home / "cache" / "datasets", 40, "rows/key.arrow", "rows/.lock") / "rows"
    with (rows / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pruning = threading.Thread(target=yard.retention.prune, args=(30,))
        pruning.start()
        time.sleep(0.1)
        assert pruning.is_alive(), "it waits for the training that looks"
        (rows / "key.used").touch()
    pruning.join()
    assert (rows / "key.arrow").exists()


def test_more_days_than_there_were_remove_nothing(yard: Yard) -> None:
    assert yard.retention.prune(RETENTION_DAYS_MAX).as_dict()["stream_entries"] == 0


def test_models_go_where_a_person_asks(yard: Yard) -> None:
    old = yard.folder("old", days_old=40)
    assert yard.retention.prune(30, models=True).bytes == 200
    assert not old.exists()


def test_a_link_is_removed_and_not_followed(yard: Yard, tmp_path: Path) -> None:
    kept = aged(tmp_path / "elsewhere", 40, "file")
    (yard.home / "cache").mkdir()
    link = yard.home / "cache" / "link"
    link.symlink_to(kept)
    os.utime(link, (0, 0), follow_symlinks=False)
    yard.retention.prune(30)
    assert not link.is_symlink()
    assert (kept / "file").exists()


def test_replies_go_and_the_courier_does_it_by_itself(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.redis.xadd(REPLIES, {"message": "old"}, id="5-0")
    yard.redis.xadd(REPLIES, {"message": "new"})
    monkeypatch.setattr(retention, "EVERY_S", 0.01)
    stop = threading.Event()
    thread = threading.Thread(target=yard.retention.run, args=(stop,))
    thread.start()
    try:
        wait_for("the old reply is gone", lambda: yard.redis.xlen(REPLIES) == 1)
    finally:
        stop.set()
        thread.join()
    assert [fields["message"] for _, fields in yard.redis.xrange(REPLIES)] == ["new"]
