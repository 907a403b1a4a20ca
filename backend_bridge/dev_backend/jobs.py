"""Jobs, their metrics and their logs, with the semantics of the real backend."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend_bridge.dev_backend.database import Database, utc_now
from backend_bridge.dev_backend.rows import lost, points_behind, summary, timed
from backend_bridge.dev_backend.wire import ApiError, redact
from trainyard.contract.statuses import TERMINAL

LOG_LINES_KEPT = 10_000
"""Lines of one job's log that the backend keeps."""

NO_TOKEN = ""
"""Digest of a job's token that is made only when a worker fetches the job."""

_NEW_COLUMNS = (
    *("job_id", "token_sha256", "status"),
    *("name", "user_id", "model_name", "dataset_path"),
)
_INSERT_JOB = """
INSERT INTO jobs (job_id, token_sha256, status, name, user_id, model_name, dataset_path, config,
                  created_at, updated_at)
VALUES (:job_id, :token_sha256, :status, :name, :user_id, :model_name, :dataset_path, :config,
        :created_at, :updated_at)
"""
_DELETES = tuple(
    f"DELETE FROM {table} WHERE job_id = ?"  # noqa: S608  # of this line
    for table in ("metrics", "logs", "answers", "predictions", "job_rows")
)


@dataclass(frozen=True)
class NewJob:
    """A row as ``POST /api/training/local/jobs`` makes it; of the token, the digest only."""

    job_id: str
    token_sha256: str
    config: dict[str, Any]
    status: str
    name: str | None = None
    user_id: str | None = None
    model_name: str | None = None
    dataset_path: str | None = None


@dataclass(frozen=True)
class Cursor:
    """How far a reader of one job has come: the last metric point and log line it has seen."""

    metric: int = 0
    line: int = 0


@dataclass(frozen=True)
class Changes:
    """What is new of one job behind a cursor, in portions of bounded size."""

    job: dict[str, Any]
    metrics: list[dict[str, Any]]
    lines: list[str]
    lines_cut: int
    """Lines between the cursor and the first of ``lines`` that are no longer kept."""
    cursor: Cursor
    more: bool
    thinned: bool
    """Whether ``metrics`` are only some of the points, spread evenly."""


class Jobs:
    """Every read and write of a job. Writers run in one transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ------------------------------------------------------------ writing

    def create(self, job: NewJob) -> dict[str, Any]:
        """Insert a job; raises ApiError 409 if its id is taken."""
        now = utc_now()
        row = {
            **{name: getattr(job, name) for name in _NEW_COLUMNS},
            "config": json.dumps(job.config),
            "created_at": now,
            "updated_at": now,
        }
        with self._database.transaction() as connection:
            try:
                connection.execute(_INSERT_JOB, row)
            except sqlite3.IntegrityError:
                raise ApiError(409, "A job with this id exists already") from None
        return self.get(job.job_id)

    def once(
        self, job_id: str, key: str | None, fingerprint: str, write: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Run ``write`` unless ``key`` was seen for this job: then its first answer again.

        Answer and effect are one transaction. Raises ApiError 422 if the key came with
        another request, which would otherwise be lost in silence.
        """
        with self._database.transaction() as connection:
            if key is None:
                return write()
            seen = connection.execute(
                "SELECT fingerprint, answer FROM answers WHERE job_id = ? AND key = ?",
                (job_id, key),
            ).fetchone()
            if seen is None:
                answer = write()
                connection.execute(
                    "INSERT INTO answers VALUES (?,?,?,?)",
                    (job_id, key, fingerprint, json.dumps(answer)),
                )
                return answer
        if seen["fingerprint"] != fingerprint:
            raise ApiError(422, "This Idempotency-Key was used for another request")
        first: dict[str, Any] = json.loads(seen["answer"])
        return first

    def set_status(self, job_id: str, status: str, error: str | None) -> dict[str, Any]:
        """Write any status over any other, as the real one does."""
        now = utc_now()
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET status = ?1, error = ?2, updated_at = ?3,"
                " started_at = CASE WHEN ?1 = 'running' THEN COALESCE(started_at, ?3)"
                "                   ELSE started_at END,"
                " ended_at = CASE WHEN ?4 THEN ?3 END WHERE job_id = ?5",
                (status, error, now, status in TERMINAL, job_id),
            )
        return {"success": True, "status": status, "updated_at": now}

    def add_metric(
        self, job_id: str, point: dict[str, Any], made_at: str | None = None
    ) -> dict[str, Any]:
        """Insert one point, of now or ``made_at``; the same point again is a second row."""
        now = utc_now()
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO metrics (job_id, point, received_at) VALUES (?,?,?)",
                (job_id, json.dumps(point), made_at or now),
            )
            connection.execute(
                "UPDATE jobs SET latest = json_patch(latest, ?), updated_at = ? WHERE job_id = ?",
                (json.dumps({**lost(point), **point}), now, job_id),
            )
        return {"success": True}

    def append_logs(self, job_id: str, lines: list[str]) -> dict[str, Any]:
        """Append lines and keep the last 10,000."""
        with self._database.transaction() as connection:
            before: int = connection.execute(
                "SELECT log_lines FROM jobs WHERE job_id = ?", (job_id,)
            ).fetchone()[0]
            total = before + len(lines)
            connection.executemany(
                "INSERT INTO logs VALUES (?,?,?)",
                ((job_id, before + place, line) for place, line in enumerate(lines, start=1)),
            )
            connection.execute(
                "DELETE FROM logs WHERE job_id = ? AND number <= ?",
                (job_id, total - LOG_LINES_KEPT),
            )
            connection.execute(
                "UPDATE jobs SET log_lines = ?, updated_at = ? WHERE job_id = ?",
                (total, utc_now(), job_id),
            )
        kept = min(total, LOG_LINES_KEPT)
        return {"success": True, "logs_appended": len(lines), "total_logs": kept}

    def set_remarks(self, job_id: str, tags: list[str], notes: str) -> None:
        """Write what a person notes beside a job; raises ApiError 404."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE jobs SET tags = ?, notes = ? WHERE job_id = ?",
                (json.dumps(tags), notes, job_id),
            ).rowcount
        if not changed:
            raise ApiError(404, "Job not found")

    def delete(self, job_id: str) -> None:
        """Forget a job with all that it sent; raises ApiError 404."""
        with self._database.transaction() as connection:
            for delete in _DELETES:
                connection.execute(delete, (job_id,))
            if not connection.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,)).rowcount:
                raise ApiError(404, "Job not found")

    # ------------------------------------------------------------ reading

    def token_sha256(self, job_id: str) -> str | None:
        """The digest of the job's token; None if there is no such job."""
        rows = self._database.read("SELECT token_sha256 FROM jobs WHERE job_id = ?", job_id)
        return rows[0][0] if rows else None

    def get(self, job_id: str) -> dict[str, Any]:
        """One job with its configuration; raises ApiError 404."""
        row = self._row(job_id)
        said = self._database.read("SELECT COUNT(*) FROM predictions WHERE job_id = ?", job_id)
        more = {"config": redact(json.loads(row["config"])), "predictions": said[0][0]}
        return {**summary(row), **more}

    def as_asked(self, job_id: str) -> dict[str, Any]:
        """The columns of a job that workers fetch: its URLs are whole. Raises ApiError 404."""
        row = self._row(job_id)
        return {**dict(row), "config": json.loads(row["config"])}

    def _row(self, job_id: str) -> sqlite3.Row:
        rows = self._database.read("SELECT * FROM jobs WHERE job_id = ?", job_id)
        if not rows:
            raise ApiError(404, "Job not found")
        return rows[0]

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Summaries of the newest jobs, the newest first."""
        rows = self._database.read("SELECT * FROM jobs ORDER BY number DESC LIMIT ?", limit)
        return [summary(row) for row in rows]

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        """All points in the order of their arrival."""
        rows = self._database.read(
            "SELECT point FROM metrics WHERE job_id = ? ORDER BY number", job_id
        )
        return [json.loads(row["point"]) for row in rows]

    def points(self, job_id: str) -> tuple[list[dict[str, Any]], bool]:
        """Points for a chart, and whether there are more (:func:`points_behind`)."""
        rows, thinned = points_behind(self._database, job_id, 0)
        return [timed(row) for row in rows], thinned

    def timed_points(self, job_id: str) -> list[dict[str, Any]]:
        """All points, each with ``at``, when it was made or came."""
        query = "SELECT point, received_at FROM metrics WHERE job_id = ? ORDER BY number"
        return [timed(row) for row in self._database.read(query, job_id)]

    def logs(self, job_id: str, offset: int, limit: int) -> dict[str, Any]:
        """A part of the kept lines; a negative offset counts from the end."""
        appended = self.get(job_id)["log_lines"]
        kept = min(appended, LOG_LINES_KEPT)
        start = max(0, kept + offset) if offset < 0 else offset
        rows = self._database.read(
            "SELECT line FROM logs WHERE job_id = ? AND number > ? ORDER BY number LIMIT ?",
            job_id,
            appended - kept + start,
            limit,
        )
        lines = [row["line"] for row in rows]
        return {"logs": lines, "total_lines": kept, "offset": start, "limit": limit}

    def changes(self, job_id: str, cursor: Cursor, *, portion: int = 2_000) -> Changes:
        """What is new behind a cursor; raises ApiError 404."""
        with self._database.transaction():
            job = self.get(job_id)
            points, thinned = points_behind(self._database, job_id, cursor.metric)
            lines = self._database.read(
                "SELECT number, line FROM logs WHERE job_id = ? AND number > ?"
                " ORDER BY number LIMIT ?",
                job_id,
                cursor.line,
                portion,
            )
        return Changes(
            job=job,
            metrics=[timed(row) for row in points],
            lines=[row["line"] for row in lines],
            lines_cut=lines[0]["number"] - cursor.line - 1 if lines else 0,
            cursor=Cursor(
                points[-1]["number"] if points else cursor.metric,
                lines[-1]["number"] if lines else cursor.line,
            ),
            more=len(lines) == portion,
            thinned=thinned,
        )
