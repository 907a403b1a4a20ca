"""Database of the development backend: an SQLite file, its schema, its one connection."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number          INTEGER PRIMARY KEY,      -- order of creation
    job_id          TEXT NOT NULL UNIQUE,
    name            TEXT,
    user_id         TEXT,
    model_name      TEXT,
    dataset_path    TEXT,
    config          TEXT NOT NULL,            -- JSON, secrets redacted
    token_sha256    TEXT NOT NULL,            -- the token itself is never written
    status          TEXT NOT NULL,
    error           TEXT,
    latest          TEXT NOT NULL DEFAULT '{}',  -- JSON: last known value of every metric field
    tags            TEXT NOT NULL DEFAULT '[]',  -- JSON: a person's own
    notes           TEXT NOT NULL DEFAULT '',
    log_lines       INTEGER NOT NULL DEFAULT 0,  -- ever appended; the last 10,000 are kept
    created_at      TEXT NOT NULL,
    started_at      TEXT,
    ended_at        TEXT,
    updated_at      TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS metrics (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id          TEXT NOT NULL,
    point           TEXT NOT NULL,            -- JSON, known fields only
    received_at     TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS metrics_of_job ON metrics (job_id, number);
CREATE INDEX IF NOT EXISTS evals_of_job ON metrics (job_id, number)
    WHERE instr(point, '"eval_loss"');
CREATE TABLE IF NOT EXISTS logs (
    job_id          TEXT NOT NULL,
    number          INTEGER NOT NULL,         -- 1 is the first line ever appended
    line            TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS predictions (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id          TEXT NOT NULL,
    prediction      TEXT NOT NULL             -- JSON as it came
);
CREATE INDEX IF NOT EXISTS predictions_of_job ON predictions (job_id, number);
CREATE TABLE IF NOT EXISTS job_rows (         -- what a worker told of a job
    job_id          TEXT PRIMARY KEY,
    fields          TEXT NOT NULL             -- JSON
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (          -- of requests with an Idempotency-Key
    job_id          TEXT NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     TEXT NOT NULL,            -- of method, path and body
    answer          TEXT NOT NULL,
    PRIMARY KEY (job_id, key)
) WITHOUT ROWID;
"""

_LATER = {
    "name": "TEXT",
    "tags": "TEXT NOT NULL DEFAULT '[]'",
    "notes": "TEXT NOT NULL DEFAULT ''",
}
"""Columns of ``jobs`` that came in later."""


def utc_now() -> str:
    """Now, as ISO 8601 in UTC with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Database:
    """One connection, guarded by a lock: SQLite has one writer anyway, and reads are short.

    WAL with ``synchronous=NORMAL``: nothing is lost when the process is killed, and a commit
    costs no fsync.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection.executescript(_SCHEMA)
        there = {row["name"] for row in self.read("PRAGMA table_info(jobs)")}
        for column, kind in _LATER.items():  # a file of before
            if column not in there:
                self._connection.execute(f"ALTER TABLE jobs ADD COLUMN {column} {kind}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; may be nested, the outermost one commits."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()

    def read(self, query: str, *values: Any, **named: Any) -> list[sqlite3.Row]:
        """All rows of one query, with values in their order or by name."""
        with self._lock:
            return self._connection.execute(query, named or values).fetchall()

    def close(self) -> None:
        """Write the WAL back into the file and close it."""
        with self._lock:
            self._connection.close()
