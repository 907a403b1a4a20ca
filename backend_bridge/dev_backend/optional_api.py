"""Routes of the contract that a backend may lack: many points, predictions, the job's row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from backend_bridge.dev_backend.database import Database
from backend_bridge.dev_backend.feed import Feed
from backend_bridge.dev_backend.jobs import Jobs
from backend_bridge.dev_backend.training_api import (
    AnyCall,
    Call,
    check_token,
    make_job,
    new_job,
    point_of,
)
from backend_bridge.dev_backend.wire import ApiError, parse_object

_PREDICTION_TEXTS = ("prompt", "prediction")
_ROW_NUMBERS = (
    *("total_epochs", "total_steps", "progress", "current_step", "final_loss", "final_eval_loss"),
    *("best_eval_loss", "best_epoch", "best_step", "total_samples", "train_samples"),
    *("val_samples", "total_tokens_processed", "batch_size"),
)
_ROW_TEXTS = ("started_at", "completed_at", "error_message")
_UPSERT_ROW = """
INSERT INTO job_rows VALUES (?, ?)
ON CONFLICT (job_id) DO UPDATE SET fields = json_patch(fields, excluded.fields)
"""


class OptionalRoutes:
    """Writes of these routes, over the jobs of one database."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs

    def add_points(self, job_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Insert all of them, or none."""
        points = [(point_of(one), _time(one)) for one in _objects(body, "metrics")]
        with self._database.transaction():
            for point, made_at in points:
                self._jobs.add_metric(job_id, point, made_at)
        return {"success": True, "inserted": len(points)}

    def add_predictions(self, job_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Insert all of them, or none."""
        told = _objects(body, "predictions")
        for one in told:
            if not all(isinstance(one.get(name), str) for name in _PREDICTION_TEXTS):
                raise ApiError(400, "Invalid prediction", "prompt and prediction should be text")
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO predictions (job_id, prediction) VALUES (?,?)",
                [(job_id, json.dumps(one)) for one in told],
            )
        return {"success": True, "inserted": len(told)}

    def set_row(self, job_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Set the fields that are given; those that are absent stay as they are."""
        given = new_job(dict(body))  # as strict as if it made a row
        status = given.status if "status" in body else None
        if not body.get("user_id"):
            raise ApiError(422, "user_id is required")
        fields = {name: body[name] for name in (*_ROW_NUMBERS, *_ROW_TEXTS) if name in body}
        for name, value in fields.items():
            right = str if name in _ROW_TEXTS else int | float
            if value is not None and (isinstance(value, bool) or not isinstance(value, right)):
                raise ApiError(400, "Invalid row", f"{name} is of another type")
        with self._database.transaction() as connection:
            connection.execute(_UPSERT_ROW, (job_id, json.dumps(fields)))
            if status is not None:
                connection.execute("UPDATE jobs SET status = ? WHERE job_id = ?", (status, job_id))
        return {"success": True}

    def predictions(self, job_id: str) -> list[dict[str, Any]]:
        """All predictions in the order of their arrival."""
        rows = self._database.read(
            "SELECT prediction FROM predictions WHERE job_id = ? ORDER BY number", job_id
        )
        return [json.loads(row["prediction"]) for row in rows]

    def row(self, job_id: str) -> dict[str, Any]:
        """What is known of a job's row; {} if nothing was told."""
        rows = self._database.read("SELECT fields FROM job_rows WHERE job_id = ?", job_id)
        fields: dict[str, Any] = json.loads(rows[0]["fields"]) if rows else {}
        return fields


def optional_routes(written: OptionalRoutes, jobs: Jobs, feed: Feed) -> APIRouter:
    """The routes. ``POST /jobs`` with a job's own token changes its row, else it makes one."""
    router = APIRouter(prefix="/api/training/local")

    def write(call: Call, action: Callable[[str, dict[str, Any]], Any]) -> JSONResponse:
        body = parse_object(call.body)
        job_id = body.get("job_id")
        if not isinstance(job_id, str):
            raise ApiError(400, "job_id is required")
        check_token(jobs, job_id, call)
        answer = jobs.once(
            job_id, call.idempotency_key, call.fingerprint, lambda: action(job_id, body)
        )
        feed.changed(job_id)
        return JSONResponse(answer)

    @router.post("/metrics")
    def post_points(call: AnyCall) -> JSONResponse:
        return write(call, written.add_points)

    @router.post("/predictions")
    def post_predictions(call: AnyCall) -> JSONResponse:
        return write(call, written.add_predictions)

    @router.get("/{job_id}/predictions")
    def get_predictions(job_id: str) -> JSONResponse:
        jobs.get(job_id)
        return JSONResponse({"job_id": job_id, "predictions": written.predictions(job_id)})

    @router.get("/{job_id}/row")
    def get_row(job_id: str) -> JSONResponse:
        jobs.get(job_id)
        return JSONResponse({"job_id": job_id, **written.row(job_id)})

    @router.post("/jobs")
    def set_row(call: AnyCall) -> JSONResponse:
        return make_job(jobs, feed, call) if call.bearer is None else write(call, written.set_row)

    return router


def _objects(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ApiError(400, f"{name} should be an array of objects")
    if not found:
        raise ApiError(400, f"{name} should not be empty")
    return found


def _time(point: Mapping[str, Any]) -> str | None:
    """When a point was made, if it says so in a way that can be read."""
    try:
        return datetime.fromisoformat(point["timestamp"]).isoformat()
    except (KeyError, TypeError, ValueError):
        return None
