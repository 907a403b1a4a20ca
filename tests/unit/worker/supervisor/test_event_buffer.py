"""What a supervisor takes of a training's events into the job itself."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tests.support.store_calls import admit, claim, stored
from trainyard.contract.events import Checkpoint
from trainyard.store.job_store import JobStore
from worker.supervisor.event_buffer import EventBuffer
from worker.supervisor.job_folder import Record


def test_the_job_knows_its_newest_checkpoint_before_any_pause(
    store: JobStore, tmp_path: Path
) -> None:
    """A job that is put back or lost waits for the host that has it."""
    admit(store)
    assert claim(store)
    job = stored(store)
    with closing(Record(tmp_path / "metrics.jsonl")) as record:
        events = EventBuffer(store, job, record)
        for step in (4, 8):
            path = f"checkpoints/checkpoint-{step}"
            events.take(Checkpoint(path=path, step=step, epoch=0.5, size_bytes=1))
        assert events.flush()
    job = stored(store)
    assert job.checkpoint == "checkpoints/checkpoint-8"
