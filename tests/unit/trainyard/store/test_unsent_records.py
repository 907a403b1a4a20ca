"""What a killed supervisor held in memory comes from the job's folder: once, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.store_calls import JOB, admit, claim, events, stored
from trainyard.contract.events import Metric
from trainyard.log_lines import stamp
from trainyard.store.job_store import JobStore
from trainyard.store.unsent_records import find_unsent, send_unsent, sizes_of_records
from worker.supervisor import job_folder
from worker.supervisor.event_buffer import EventBuffer
from worker.supervisor.job_folder import open_records


@pytest.fixture
def store(store: JobStore) -> JobStore:
    store.log_lines_kept = 500
    admit(store)
    assert claim(store)
    return store


@pytest.fixture
def files() -> Iterator[ExitStack]:
    """Closes what a killed supervisor would have left to the kernel."""
    with ExitStack() as stack:
        yield stack


class Attempt:
    """A supervisor's event buffer and its files, without the rest of it."""

    def __init__(self, store: JobStore, folder: Path, files: ExitStack) -> None:
        job = stored(store)
        self.log, metrics = files.enter_context(open_records(folder))
        self.buffer = EventBuffer(store, job, metrics)
        unsent = find_unsent(folder, job, store.log_lines_kept)
        self.buffer.take_over(unsent)
        self.log.append("".join(f"{line}\n" for line in unsent.owed))
        self.buffer.set_fields(owed_lines="[]")

    def say(self, *lines: str) -> None:
        self.log.append("".join(f"{line}\n" for line in lines))
        self.buffer.log_lines(lines, self.log.end)

    def step(self, step: int) -> None:
        self.buffer.take(Metric(step=step, epoch=0, train_loss=1.0))


def lines_of(store: JobStore) -> list[str]:
    logs = [json.loads(e["data"]) for e in events(store.redis) if e["kind"] == "log"]
    return [line for lines in logs for line in lines]


def steps_of(store: JobStore) -> list[int]:
    return [json.loads(e["data"])["step"] for e in events(store.redis) if e["kind"] == "metric"]


def killed_attempt(store: JobStore, folder: Path, files: ExitStack) -> None:
    """It sent line 1 and point 1; the rest stands in its files alone."""
    attempt = Attempt(store, folder, files)
    attempt.say("line 1")
    attempt.step(1)
    assert attempt.buffer.flush()
    attempt.say("line 2", "line 3")
    attempt.step(2)
    attempt.step(3)


def test_the_next_attempt_fills_in_before_its_own(
    store: JobStore, tmp_path: Path, files: ExitStack
) -> None:
    killed_attempt(store, tmp_path, files)
    store.lost(JOB, 1, "Killed.")
    assert claim(store, 2)
    attempt = Attempt(store, tmp_path, files)
    attempt.say("line 4")
    attempt.step(4)
    assert attempt.buffer.flush()
    said, *lines = [line for line in lines_of(store) if "lost" in line], *lines_of(store)
    assert lines == ["line 1", *said, "line 2", "line 3", "line 4"]
    assert steps_of(store) == [1, 2, 3, 4]
    # The log in the folder has the store's line too, and everything once.
    assert sorted((tmp_path / "train.log").read_text().splitlines()) == sorted(lines)


def test_whoever_ends_the_job_fills_in_before_the_status(
    store: JobStore, tmp_path: Path, files: ExitStack
) -> None:
    killed_attempt(store, tmp_path, files)
    store.max_restarts = 0
    send_unsent(store, stored(store), tmp_path)
    send_unsent(store, stored(store), tmp_path)
    store.lost(JOB, 1, "Killed.")
    assert lines_of(store) == ["line 1", "line 2", "line 3"]
    assert steps_of(store) == [1, 2, 3]
    assert events(store.redis)[-1]["kind"] == "status"


def test_an_attempt_killed_before_its_first_append_costs_nothing(
    store: JobStore, tmp_path: Path, files: ExitStack
) -> None:
    killed_attempt(store, tmp_path, files)
    for number in (2, 3):
        store.lost(JOB, number - 1, f"Killed {number}.")
        assert claim(store, number)
        attempt = Attempt(store, tmp_path, files)
        attempt.say(f"attempt {number}")
    assert attempt.buffer.flush()
    lines = lines_of(store)
    assert [line for line in lines if "Killed" not in line] == [
        *(f"line {n}" for n in (1, 2, 3)),
        *("attempt 2", "attempt 3"),
    ]
    assert sum("Killed" in line for line in lines) == 2
    assert sorted((tmp_path / "train.log").read_text().splitlines()) == sorted(lines)


def test_a_frozen_attempt_adds_nothing_to_what_was_filled_in(
    store: JobStore, tmp_path: Path, files: ExitStack
) -> None:
    attempt = Attempt(store, tmp_path, files)
    attempt.say("line 1")
    send_unsent(store, stored(store), tmp_path)
    attempt.buffer.flush()
    assert lines_of(store) == ["line 1"]


def test_too_many_lines_are_cut_with_their_count(
    store: JobStore, tmp_path: Path, files: ExitStack
) -> None:
    attempt = Attempt(store, tmp_path, files)
    attempt.log.append("".join(f"line {n}\n" for n in range(1000)))
    send_unsent(store, stored(store), tmp_path)
    note, *lines = lines_of(store)
    assert "502 log lines were cut here" in note
    assert lines == [f"line {n}" for n in range(502, 1000)]


def test_a_half_written_metric_is_left_out(
    store: JobStore, tmp_path: Path, files: ExitStack
) -> None:
    Attempt(store, tmp_path, files).step(1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "ep')
    send_unsent(store, stored(store), tmp_path)
    assert steps_of(store) == [1]


def test_another_hosts_folder_is_gone_on_from_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("12345\n")
    assert sizes_of_records(tmp_path) == {"log_bytes": "6", "metric_bytes": "0"}


def test_a_stamped_line_of_the_store_goes_into_the_log_as_it_is(
    store: JobStore, tmp_path: Path, files: ExitStack, monkeypatch: Any
) -> None:
    monkeypatch.setattr("trainyard.store.attempt_writes.stamp", lambda text: stamp(text, at=0))
    store.put_back(JOB, 1, "its worker stopped.")
    assert claim(store, 2)
    Attempt(store, tmp_path, files).buffer.flush()
    line = "[1970-01-01 00:00:00] Put back into the queue: its worker stopped."
    assert (tmp_path / "train.log").read_text() == f"{line}\n"
    assert lines_of(store) == [line]
    assert not stored(store).owed_lines


def test_a_line_of_the_store_that_a_killed_attempt_wrote_is_written_once(
    store: JobStore, tmp_path: Path, files: ExitStack
) -> None:
    killed_attempt(store, tmp_path, files)
    store.lost(JOB, 1, "Killed.")
    assert claim(store, 2)
    Attempt(store, tmp_path, files).say("line 4")  # killed before it could send anything
    send_unsent(store, stored(store), tmp_path)
    store.lost(JOB, 2, "Killed again.")
    assert claim(store, 3)
    assert Attempt(store, tmp_path, files).buffer.flush()
    written = (tmp_path / "train.log").read_text().splitlines()
    assert sorted(written) == sorted(lines_of(store))
    assert sum("Killed." in line for line in written) == 1


def test_a_log_that_began_anew_before_it_was_heard_of(
    store: JobStore, tmp_path: Path, files: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_folder, "LOG_BYTES_MAX", 100)
    attempt = Attempt(store, tmp_path, files)
    attempt.say(*(f"line {number} of those that were sent, all of them" for number in range(2)))
    assert attempt.buffer.flush()
    attempt.say("one more", *(f"{'x' * 60} {number}" for number in range(2)))
    attempt.say("in a file of its own")
    assert (tmp_path / "train.log").read_text() == "in a file of its own\n"
    assert (tmp_path / "train.log.1").stat().st_size > 100
    send_unsent(store, stored(store), tmp_path)
    send_unsent(store, stored(store), tmp_path)
    sent = lines_of(store)
    assert [line[-1] for line in sent[:2]] == ["m", "m"]
    assert sent[2:] == ["one more", f"{'x' * 60} 0", f"{'x' * 60} 1", "in a file of its own"]
