"""Rows of the database as they are told: a job's summary, its points with their time."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from backend_bridge.dev_backend.database import Database
from backend_bridge.dev_backend.wire import redact
from trainyard.contract.config import TrainingConfig
from trainyard.contract.methods import DEFAULT_METHOD

_DEFAULT_RATE = TrainingConfig.model_fields["learning_rate"].default

POINTS_MAX = 2_000
"""Points of a job that a chart is drawn from."""
_POINTS = "SELECT number, point, received_at FROM metrics WHERE job_id = :job AND number > :after"
_BEST = """
SELECT number FROM metrics WHERE job_id = :job AND number > :after
AND instr(point, '"eval_loss"') AND json_extract(point, '$.eval_loss') IS NOT NULL
ORDER BY json_extract(point, '$.eval_loss'), number LIMIT 1
"""
_SPREAD = """
WITH RECURSIVE places (number, place) AS (
    SELECT :after + 1, 0 UNION ALL
    SELECT :after + 1 + (:newest - :after) * (place + 1) / :most, place + 1
    FROM places WHERE place + 1 < :most
)
SELECT DISTINCT (
    SELECT number FROM metrics WHERE job_id = :job AND number >= places.number AND {which}
    ORDER BY number LIMIT 1
) AS number FROM places
"""
"""The first row of each of ``:most`` equal stretches: a look into the index each."""


def summary(row: sqlite3.Row) -> dict[str, Any]:
    """A job without its configuration, and without what nobody but this server should see."""
    hidden = {"number", "config", "token_sha256", "latest", "tags"}
    job = {name: row[name] for name in row.keys() if name not in hidden}  # noqa: SIM118 (a Row)
    job |= {name: json.loads(row[name]) for name in ("latest", "tags")}
    job["dataset_path"] = redact(row["dataset_path"])
    return {**job, **_asked_for(json.loads(row["config"]))}


def timed(row: sqlite3.Row) -> dict[str, Any]:
    """A point with ``at``, when it was made or came."""
    return {**json.loads(row["point"]), "at": row["received_at"]}


def points_behind(database: Database, job_id: str, after: int) -> tuple[list[sqlite3.Row], bool]:
    """Points of a job behind the one of number ``after``; and whether they are only some of them.

    Of more than ``POINTS_MAX`` at most so many: evals, and points of any kind, each spread evenly
    over what has come, with the best eval and the newest point. Of a million that takes as long as
    of some thousand, but for a look at each eval.
    """
    asked: dict[str, Any] = {"job": job_id, "after": after, "most": (POINTS_MAX - 2) // 2}
    rows = database.read(f"{_POINTS} ORDER BY number LIMIT {POINTS_MAX + 1}", **asked)
    if len(rows) <= POINTS_MAX:
        return rows, False
    newest = "SELECT max(number) AS number FROM metrics WHERE job_id = :job"
    asked["newest"] = database.read(newest, **asked)[0]["number"]
    chosen = {asked["newest"], *(row["number"] for row in database.read(_BEST, **asked))}
    for which in ("true", """instr(point, '"eval_loss"')"""):
        spread = database.read(_SPREAD.format(which=which), **asked)
        chosen |= {row["number"] for row in spread if row["number"] is not None}
    numbers = ",".join(map(str, sorted(chosen)))
    return database.read(f"{_POINTS} AND number IN ({numbers}) ORDER BY number", **asked), True


def lost(point: dict[str, Any]) -> dict[str, None]:
    """The loss of a step that has a learning rate and no loss is not finite: forget the last."""
    return {"train_loss": None} if "learning_rate" in point else {}


def _asked_for(config: dict[str, Any]) -> dict[str, Any]:
    """What the list shows of a job's configuration; the epochs and the most steps if it says so."""
    given = config.get("training")
    training = given if isinstance(given, dict) else {}
    epochs = training.get("num_epochs", training.get("num_train_epochs"))
    return {
        "method": str(training.get("method") or DEFAULT_METHOD),
        "learning_rate": training.get("learning_rate", _DEFAULT_RATE),
        "planned_epochs": _positive(epochs),
        "planned_steps": _positive(training.get("max_steps")),
    }


def _positive(value: Any) -> float | None:
    return value if isinstance(value, int | float) and value > 0 else None
