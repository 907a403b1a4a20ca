"""Rows of the database as they are told: a job's summary, a point with its time."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from backend_bridge.dev_backend.wire import redact
from trainyard.contract.config import TrainingConfig
from trainyard.contract.methods import DEFAULT_METHOD

_DEFAULT_RATE = TrainingConfig.model_fields["learning_rate"].default


def summary(row: sqlite3.Row) -> dict[str, Any]:
    """A job without its configuration, and without what nobody but this server should see."""
    hidden = {"number", "config", "token_sha256", "latest", "tags"}
    job = {name: row[name] for name in row.keys() if name not in hidden}  # noqa: SIM118 (a Row)
    job |= {name: json.loads(row[name]) for name in ("latest", "tags")}
    job["dataset_path"] = redact(row["dataset_path"])
    return {**job, **_asked_for(json.loads(row["config"]))}


def timed(row: sqlite3.Row) -> dict[str, Any]:
    """A point with the time ``at`` which it was made or came."""
    return {**json.loads(row["point"]), "at": row["received_at"]}


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
