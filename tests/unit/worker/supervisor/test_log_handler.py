"""From the bytes that a training prints to pages of its log: nothing lost, nothing smuggled in."""

from __future__ import annotations

import json
import logging
import re
import resource
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import ConnectionError

from tests.support.requests import start_request
from tests.support.store_calls import job_store, stored
from trainyard.contract.events import Metric, Phase, Prediction, Progress, StartEval
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.log_lines import LINE_CHARACTERS_MAX, clean, stamp
from trainyard.redaction import Redactor
from trainyard.store.job_store import JobStore
from worker.supervisor.event_buffer import EVENTS_PER_APPEND, PENDING_CHARACTERS_MAX, EventBuffer
from worker.supervisor.job_folder import Record
from worker.supervisor.log_handler import BATCH_CHARACTERS_MAX, BatchingLogHandler
from worker.supervisor.output_lines import LINE_BYTES_MAX, REFRESH_EVERY_S, LineSplitter

JOB = "job-1"


# ---------------------------------------------------------------- one line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("bell\x07", "bell\\x07"),
        ("nul\0", "nul\\x00"),
        ("a\nb\rc", "a\\x0ab\\x0dc"),
        ("half an escape \x1b", "half an escape \\x1b"),
        ("\x9b31m", "\\x9b31m"),
        ("line\u2028separator", "line\\x2028separator"),
        ("\ttab", "    tab"),
        ("ünïcödé 👩‍🔬", "ünïcödé 👩‍🔬"),
    ],
)
def test_control_characters_are_shown_not_sent(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_megabyte_line_is_cut_and_says_so() -> None:
    assert clean("x" * 1_000_000) == "x" * LINE_CHARACTERS_MAX + " [991,808 more characters]"


@given(st.text())
def test_a_stamped_line_is_one_printable_line(text: str) -> None:
    line = stamp(text, at=0)
    assert line.startswith("[1970-01-01 00:00:00] ")
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)


# ---------------------------------------------------------------- bytes to lines


def split(*chunks: bytes, clock: Any = lambda: 0.0) -> list[str]:
    splitter = LineSplitter(clock)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [*lines, *splitter.close()]


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ((b"a\nb\n",), ["a", "b"]),
        ((b"a\n\nb",), ["a", "", "b"]),
        ((b"a", b"b", b"\n"), ["ab"]),
        ((b"a\r\nb\r", b"\nc"), ["a", "b", "c"]),
        ((b"a\r\r\nb",), ["a", "b"]),
        ((b"\xff\xfe\n",), ["\ufffd\ufffd"]),
        (("é".encode()[:1], "é".encode()[1:] + b"\n"), ["é"]),
        ((b"a\0b\n",), ["a\0b"]),
        ((b"10%\r20%\r100%\n",), ["100%"]),
        ((b"",), []),
    ],
)
def test_lines(chunks: tuple[bytes, ...], lines: list[str]) -> None:
    assert split(*chunks) == lines


@pytest.mark.parametrize("form", [b"\r%d%%", b"%d%%\r"], ids=["before", "after"])
def test_a_progress_bar_is_kept_once_a_second_and_its_last_state_always(form: bytes) -> None:
    now = 0.0
    splitter = LineSplitter(lambda: now)
    kept: list[str] = []
    for percent in range(101):
        kept += splitter.feed(form % percent)
        now += REFRESH_EVERY_S / 10
    kept += splitter.feed(b"\n")
    assert 9 <= len(kept) <= 12
    assert kept[-1] == "100%"
    assert len(set(kept)) == len(kept)


def test_a_line_without_an_end_is_cut_and_its_rest_counted() -> None:
    splitter = LineSplitter()
    pieces: list[str] = []
    for _ in range(64):
        pieces += splitter.feed(b"x" * 16_384)
    assert [len(piece) for piece in pieces] == [LINE_BYTES_MAX]
    assert splitter.feed(b"y\nnext\n") == ["[983,041 more bytes of this line were cut]", "next"]
    assert splitter.close() == []


@given(st.lists(st.text("ab é\0", max_size=6), max_size=8), st.data())
def test_how_the_bytes_are_cut_makes_no_difference(texts: list[str], data: st.DataObject) -> None:
    raw = "".join(f"{text}\n" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    chunks = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert split(*chunks) == [text.rstrip() for text in texts]


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"\r", b"\n", b"\r\n"]), max_size=20))
def test_any_bytes_at_all_become_single_lines(chunks: list[bytes]) -> None:
    assert all("\n" not in line and "\r" not in line for line in split(*chunks))


# ---------------------------------------------------------------- batches


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with closing(Record(tmp_path / "record")) as found:
        yield found


class Batches:
    """A sink that keeps what it gets, and a handler in front of it."""

    def __init__(self, record: Record, flush_s: float = 3600) -> None:
        self.batches: list[Sequence[str]] = []
        self.ends: list[int] = []
        self.file = record
        redactor = Redactor(["a-known-secret"])
        self.handler = BatchingLogHandler(self.take, self.file, redactor, flush_s=flush_s)

    def take(self, lines: Sequence[str], log_end: int) -> None:
        self.batches.append(lines)
        self.ends.append(log_end)

    def log(self, text: str) -> None:
        self.handler.handle(logging.LogRecord("job", logging.INFO, "", 0, text, None, None))


def test_a_batch_holds_a_hundred_lines_at_most(record: Record) -> None:
    out = Batches(record)
    for n in range(250):
        out.log(f"line {n}")
    assert [len(batch) for batch in out.batches] == [LOG_LINES_PER_BATCH] * 2
    out.handler.flush()
    assert len(out.batches[2]) == 50
    lines = [line for batch in out.batches for line in batch]
    assert [line.rpartition(" ")[2] for line in lines] == [str(n) for n in range(250)]
    written = record.path.read_bytes()
    assert written.decode().splitlines() == lines
    for batch, end in zip(out.batches, out.ends, strict=True):
        assert written[:end].decode().splitlines()[-1] == batch[-1]


def test_long_lines_make_small_batches(record: Record) -> None:
    out = Batches(record)
    out.handler.lines(["x" * 8000] * 99)
    out.handler.flush()
    assert sum(map(len, out.batches)) == 99
    assert max(sum(map(len, batch)) for batch in out.batches) <= BATCH_CHARACTERS_MAX


def test_no_secret_reaches_the_file_or_the_stream(record: Record) -> None:
    out = Batches(record)
    out.log("it is a-known-secret")
    out.handler.lines(["\x1b[1ma-known\x1b[0m-secret", "x" * 8190 + "a-known-secret"])
    out.handler.flush()
    for text in ("".join(out.batches[0]), record.path.read_text()):
        assert "known" not in text
        assert text.count("[redacted]") == 2


def test_a_full_disk_costs_no_line_of_the_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "train.log").symlink_to("/dev/full")
    with closing(Record(tmp_path / "train.log")) as full:
        out = Batches(full)
        out.log("one")
        out.log("two")
    out.handler.flush()
    assert [line[22:] for line in out.batches[0]] == ["one", "two"]
    assert caplog.text.count("No space left on device") == 1


def test_half_a_line_that_found_room_is_taken_back(tmp_path: Path) -> None:
    with closing(Record(tmp_path / "metrics.jsonl")) as record:
        record.append("first\n")
        with longest_file(8):
            record.append("second\n")
        record.append("third\n")
        assert (tmp_path / "metrics.jsonl").read_text() == "first\nthird\n"
        assert record.end == 12


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """As a disk with room for so many bytes of a file: what fits of a write is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_that_a_kill_cut_in_two_is_ended_before_the_next(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("whole\nhal")
    with closing(Record(tmp_path / "train.log")) as record:
        record.append("next\n")
    assert (tmp_path / "train.log").read_text() == "whole\nhal\nnext\n"


@pytest.mark.parametrize(("flush_s", "batches"), [(0.0, 1), (3600.0, 0)])
def test_a_few_lines_wait_for_the_flush_time(record: Record, flush_s: float, batches: int) -> None:
    out = Batches(record, flush_s)
    out.log("one")
    out.handler.flush_if_due()
    assert len(out.batches) == batches


def test_nothing_is_handed_on_where_there_is_nothing(record: Record) -> None:
    out = Batches(record, 0)
    out.handler.flush()
    out.handler.flush_if_due()
    assert out.batches == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb", ["a", "b"]),
        ("", [""]),
        ("100% %s %d {x}", ["100% %s %d {x}"]),
        ("a\n" * 150, ["a"] * 150),
    ],
)
def test_a_record_becomes_its_lines(record: Record, text: str, lines: list[str]) -> None:
    out = Batches(record)
    out.log(text)
    out.handler.flush()
    found = [line for batch in out.batches for line in batch]
    assert [line[22:] for line in found] == lines
    assert max(map(len, out.batches)) <= LOG_LINES_PER_BATCH


def test_what_the_supervisor_says_has_its_level_on_every_line(record: Record) -> None:
    out = Batches(record)
    out.handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    out.handler.say("an event that is none:\n1 error", logging.ERROR)
    out.handler.flush()
    found = [line[22:] for batch in out.batches for line in batch]
    assert found == ["ERROR an event that is none:", "ERROR 1 error"]


# ---------------------------------------------------------------- the event buffer


class Outage:
    """The job store's append while Redis is away: it raises, or loses the answer."""

    def __init__(self, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = True
        self.answer_lost = False
        append = store.append

        def patched(*arguments: Any) -> bool:
            if self.away:
                if self.answer_lost:
                    append(*arguments)
                raise ConnectionError("away")
            return append(*arguments)

        monkeypatch.setattr(store, "append", patched)


@pytest.fixture
def running(redis: Redis) -> JobStore:
    store = job_store(redis, log_lines_kept=500)
    store.admit(start_request(JOB), slots=1)
    assert store.claim(JOB, 1, slot="s", worker="w")
    return store


@pytest.fixture
def outage(running: JobStore, monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(running, monkeypatch)


@pytest.fixture
def events(running: JobStore, record: Record) -> EventBuffer:
    return EventBuffer(running, stored(running), record)


def stream(store: JobStore) -> list[tuple[str, Any]]:
    found = [f for _, f in store.redis.xrange(f"trainyard:events:{JOB}")]
    return [(f["kind"], json.loads(f["data"])) for f in found if f["kind"] != "status"]


def test_events_keep_their_order(events: EventBuffer, running: JobStore) -> None:
    for n in range(1, EVENTS_PER_APPEND + 10):
        events.log_lines([f"line {n}"], 0)
        events.take(Metric(step=n, epoch=0, train_loss=1 / n))
    events.take(Prediction(step=7, prompt="2 + 2?", prediction="4"))
    events.take(Phase(name="train", seconds=1.23456))
    events.take(Progress(step=7, total_steps=9, epoch=0.5, total_epochs=1))
    assert events.flush()
    found = stream(running)
    assert [kind for kind, _ in found] == ["log", "metric"] * (EVENTS_PER_APPEND + 9) + [
        "prediction",
        "phase",
    ]
    assert found[-2][1]["prediction"] == "4"
    assert [data["step"] for kind, data in found if kind == "metric"] == list(range(1, 60))
    job = stored(running)
    assert (job.progress["step"], job.phases) == (7, {"train": 1.235})


def test_the_point_holds_the_newest_value_of_each_field(
    events: EventBuffer, running: JobStore
) -> None:
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0)):
        events.take(Metric(step=step, epoch=0, eval_loss=loss))
        events.take(Metric(step=step, epoch=0, train_loss=step / 10))
    events.flush()
    job = stored(running)
    assert (job.point["eval_loss"], job.point["best_eval_loss"]) == (2.0, 1.0)
    assert job.point["train_loss"] == 0.3


def test_the_eval_before_the_first_step_is_known_and_no_entry(
    events: EventBuffer, running: JobStore
) -> None:
    events.take(StartEval(eval_loss=7.5))
    events.flush()
    assert stream(running) == []
    events.take(Metric(step=1, epoch=0, train_loss=3.0))
    events.flush()
    job = stored(running)
    assert (job.point["start_eval_loss"], job.point["train_loss"]) == (7.5, 3.0)
    assert job.point.get("eval_loss") is None


def test_the_point_of_an_eval_carries_the_newest_train_values(
    events: EventBuffer, running: JobStore
) -> None:
    """A backend that writes absent fields as null would blank them in the job's row."""
    events.take(Metric(step=1, epoch=0, train_loss=3.0, grad_norm=1.0))
    events.take(Metric(step=2, epoch=0, train_loss=2.0, gpu_memory_allocated_gb=4.5))
    events.take(Metric(step=2, epoch=0, eval_loss=2.5))
    events.take(Metric(step=3, epoch=0, train_loss=1.0))
    events.flush()
    points = [point for kind, point in stream(running) if kind == "metric"]
    assert [point.get("train_loss") for point in points] == [3.0, 2.0, 2.0, 1.0]
    assert points[2] == {
        **{"event": "metric", "step": 2, "epoch": 0.0},
        **{"train_loss": 2.0, "eval_loss": 2.5, "gpu_memory_allocated_gb": 4.5},
    }


@pytest.mark.parametrize("answer_lost", [False, True])
def test_an_outage_loses_and_doubles_nothing(
    events: EventBuffer, running: JobStore, outage: Outage, answer_lost: bool
) -> None:
    outage.answer_lost = answer_lost
    for n in range(5):
        events.log_lines([f"line {n}"], 0)
        assert not events.flush()
    outage.away = False
    assert events.flush()
    assert [data for _, data in stream(running)] == [[f"line {n}"] for n in range(5)]


def test_a_long_outage_is_bounded_and_leaves_a_line_that_says_what_was_cut(
    events: EventBuffer, running: JobStore, outage: Outage
) -> None:
    events.take(Metric(step=1, epoch=0))
    for n in range(50):
        events.log_lines([f"line {n}.{i}" for i in range(100)], 0)
    assert events._pending_lines < running.log_lines_kept
    outage.away = False
    events.flush()
    kinds = [kind for kind, _ in stream(running)]
    lines = [line for kind, data in stream(running) if kind == "log" for line in data]
    assert kinds.count("metric") == 1
    assert "... 4600 log lines were cut here" in lines[0]
    assert lines[1:] == [f"line {n}.{i}" for n in range(46, 50) for i in range(100)]


def test_what_waits_for_redis_is_bounded_in_size_too(
    events: EventBuffer, running: JobStore, outage: Outage
) -> None:
    running.log_lines_kept = 10_000
    for _ in range(30):
        events.log_lines(["x" * 8192] * 100, 0)
    assert sum(len(event.data) for event, _ in events._pending) <= PENDING_CHARACTERS_MAX
    outage.away = False
    events.flush()
    counts = [len(data) for kind, data in stream(running) if kind == "log"]
    assert counts == [1, *[100] * 19]


def test_an_outage_is_said_once(
    events: EventBuffer, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    for away in (True, True, True, False, True):
        outage.away = away
        events.log_lines(["line"], 0)
        events.flush()
    assert caplog.text.count("events wait for Redis") == 2


def test_the_best_eval_of_an_earlier_attempt_stays_the_best(
    running: JobStore, record: Record
) -> None:
    job = stored(running)
    before = replace(job, point={"eval_loss": 1.0, "best_eval_loss": 1.0})
    events = EventBuffer(running, before, record)
    events.take(Metric(step=9, epoch=1, eval_loss=2.0))
    events.flush()
    job = stored(running)
    assert (job.point["eval_loss"], job.point["best_eval_loss"]) == (2.0, 1.0)


def test_a_fenced_buffer_stops(events: EventBuffer, running: JobStore) -> None:
    events.log_lines(["before"], 0)
    assert events.flush()
    running.put_back(JOB, 1, "x")
    events.log_lines(["after"], 0)
    assert not events.flush_all()
    assert events.fenced
    assert "after" not in json.dumps(stream(running))
