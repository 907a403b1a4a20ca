"""Routes of the page that start a job: the form's schema, a check of the data set, the start."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from backend_bridge.dev_backend.bridge_link import BridgeLink
from backend_bridge.dev_backend.feed import Feed
from backend_bridge.dev_backend.jobs import Jobs
from backend_bridge.dev_backend.training_api import new_job
from backend_bridge.dev_backend.wire import ApiError
from trainyard.child_process import dying_with_us, python_module
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.fields.clean_urls import clean_url
from trainyard.contract.fields.sweep import is_sweep
from trainyard.contract.parser import parse_request
from trainyard.contract.request import StartRequest
from trainyard.local.backend_row import row_of
from trainyard.local.submission import jobs_of, prepare
from trainyard.secret_environment import without_secrets
from trainyard.settings import settings

CHECK_TIMEOUT_S = 300
_AnyObject = Annotated[dict[str, Any], Body()]


class Starts:
    """Jobs that a person starts from the page."""

    def __init__(self, jobs: Jobs, link: BridgeLink) -> None:
        self._jobs = jobs
        self._link = link
        self._checking = asyncio.Lock()

    def start(self, body: dict[str, Any]) -> tuple[str, list[str]]:
        """Make the row and have the bridge start the job, or all of a sweep: the request's id and
        those of its jobs. Raises ApiError: no row is left then."""
        made = _prepared(body)
        jobs = [new_job(row_of(job)) for job in jobs_of(made, settings())]
        job_ids = [str(self._jobs.create(job)["job_id"]) for job in jobs]
        code, answer = self._link.start(made)
        if code != 200:
            for job_id in job_ids:
                self._jobs.delete(job_id)
            raise ApiError(code, answer.get("error", "The bridge refused"))
        return str(made["execution_id"]), job_ids

    async def check(self, body: dict[str, Any]) -> dict[str, Any]:
        """The report of ``trainyard check-dataset --json``. Raises ApiError."""
        one = {name: value for name, value in body.items() if name != "sweep"}
        made = await run_in_threadpool(_prepared, one)
        request = parse_request(made)
        named, evaluates = request.trains_on, request.eval_dataset_path
        given = request.whole_dataset_path
        urls = given.get_secret_value().splitlines() if given else ()
        whole = {clean_url(url): url for url in urls}

        def readable(path: str) -> str:
            return _readable(whole.get(path, path))

        several = [
            {**one.model_dump(), "path": readable(one.path)} for one in request.datasets or ()
        ]
        spec = {
            "path": named if several else readable(request.dataset_path),
            "eval_path": _readable(evaluates) if evaluates else "",
            "config": {**request.config.model_dump(mode="json"), "datasets": several or None},
            "with_model": False,
            "model_roots": [],
            "cache_dir": str(settings().trainyard_home / "cache"),
            "max_download_gb": settings().max_download_gb,
            "allow_private_urls": settings().allow_private_urls,
            "as_json": True,
        }
        if self._checking.locked():
            raise ApiError(429, "Another data set is being checked: wait for it")
        async with self._checking:
            return await _checked(spec)


def start_routes(jobs: Jobs, link: BridgeLink, feed: Feed) -> APIRouter:
    """The routes below ``/api/dev/start``."""
    router, starts = APIRouter(prefix="/api/dev/start"), Starts(jobs, link)

    @router.get("/schema")
    def schema() -> JSONResponse:
        return JSONResponse(StartRequest.model_json_schema())

    @router.post("/check")
    async def check(body: _AnyObject) -> JSONResponse:
        return JSONResponse(await starts.check(body))

    @router.post("")
    def start(body: _AnyObject) -> JSONResponse:
        started, job_ids = starts.start(body)
        for job_id in job_ids:
            feed.changed(job_id)
        page = f"/{'sweeps' if is_sweep(body) else 'jobs'}/{quote(started)}"
        return JSONResponse({"job_id": started, "page": page}, 201)

    return router


def _prepared(body: dict[str, Any]) -> dict[str, Any]:
    own = {"execution_id": f"job-{secrets.token_hex(8)}", "job_token": secrets.token_urlsafe(32)}
    try:
        return prepare({**body, **own}, settings())
    except TrainyardError as error:
        raise ApiError(422, str(error)) from None


def _readable(name: str) -> str:
    """What a job may read: an address, or what lies below DATASET_ROOTS."""
    if "://" in name:
        return name
    for root in map(Path.resolve, settings().dataset_roots):
        found = (root / name).resolve()
        if found.exists() and found.is_relative_to(root):
            return str(found)
    raise ApiError(404, f"{name!r} is not here: it is looked up and checked when the job starts")


async def _checked(spec: dict[str, Any]) -> dict[str, Any]:
    """In a process that ends with this one, or when this server is to stop."""
    command = dying_with_us(python_module("tasks.datasets.check"))
    child = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=without_secrets(os.environ)
    )
    try:
        said, _ = await asyncio.wait_for(
            child.communicate(json.dumps(spec).encode()), CHECK_TIMEOUT_S
        )
        report: dict[str, Any] = json.loads(said)
    except TimeoutError:
        raise ApiError(504, f"The check took more than {CHECK_TIMEOUT_S} s") from None
    except ValueError:
        raise ApiError(500, "What checks data sets does not run here") from None
    finally:
        if child.returncode is None:
            child.kill()
    return report
