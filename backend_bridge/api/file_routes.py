"""Routes of what a job leaves behind: checkpoints, model, log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse, Response, StreamingResponse

from backend_bridge.api.context import Bridge, ThisBridge
from backend_bridge.api.error_responses import error_answers
from backend_bridge.api.openapi import BINARY, BINARY_CONTENT, TEXT_CONTENT
from backend_bridge.api.responses import CheckpointsAnswer
from backend_bridge.api.tar_stream import FolderArchive
from trainyard.contract.job_folder import CHECKPOINT_PATTERN, MODEL, checkpoint_path
from trainyard.contract.units import MIB
from trainyard.store.event_log import StoredCheckpoint
from trainyard.store.job import Job

router = APIRouter(tags=["files"])
_TEXT = "text/plain; charset=utf-8"
_LINES_PER_PAGE = 1000
_Checkpoint = Annotated[str, Query(json_schema_extra={"pattern": f"^({CHECKPOINT_PATTERN})?$"})]


@router.get("/api/training/checkpoints/{job_id}", responses=error_answers(404))
def checkpoints(bridge: ThisBridge, job_id: str) -> CheckpointsAnswer:
    """The checkpoints that are there, in the order in which they were written."""
    job = bridge.job(job_id)
    return CheckpointsAnswer.of(job_id, present_checkpoints(bridge, job))


@router.get(
    "/api/training/{job_id}/download/model",
    response_class=Response,
    responses={
        200: {"description": "A tar archive.", "content": BINARY_CONTENT},
        **error_answers(404, 409, 422),
    },
)
def download_model(bridge: ThisBridge, job_id: str, checkpoint: _Checkpoint = "") -> Response:
    """The trained model, or a checkpoint (``checkpoints/checkpoint-N``), as a tar archive.

    Of an adapter that was merged it has both: the merged copy, if there is one, lies in `merged/`.
    """
    job = bridge.job(job_id)
    folder = _checkpoint(bridge, job, checkpoint) if checkpoint else _model(bridge, job)
    name = f"{job_id}-{folder.name if checkpoint else MODEL}"
    archive = FolderArchive(folder, name)
    headers = {**_attachment(f"{name}.tar"), "Content-Length": str(archive.size_bytes)}
    return StreamingResponse(archive.chunks(), media_type=BINARY, headers=headers)


@router.get(
    "/api/training/{job_id}/download/logs",
    response_class=Response,
    responses={
        200: {"description": "The log.", "content": TEXT_CONTENT},
        **error_answers(404),
    },
)
def download_logs(bridge: ThisBridge, job_id: str) -> Response:
    """The job's log as text: all of it, or the newest lines if another host has the rest."""
    job = bridge.job(job_id)
    headers = _attachment(f"{job_id}.log")
    files = bridge.files.logs(job)
    if len(files) == 1:
        return FileResponse(files[0], media_type=_TEXT, headers=headers)
    text = _whole(files) if files else _kept_lines(bridge, job_id)
    return StreamingResponse(text, media_type=_TEXT, headers=headers)


def _whole(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            while block := file.read(MIB):
                yield block


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def present_checkpoints(bridge: Bridge, job: Job) -> list[StoredCheckpoint]:
    """What was written, less what was deleted since, if this host can see it."""
    written = bridge.events.checkpoints(job.job_id)
    if bridge.files.folder(job) is None:
        return written
    return [item for item in written if bridge.files.checkpoint(job, item.checkpoint.path)]


def _model(bridge: Bridge, job: Job) -> Path:
    if not job.result:
        raise HTTPException(
            409,
            f"job {job.job_id} has no trained model: it is {job.status}; "
            "a checkpoint can be downloaded with ?checkpoint=",
        )
    folder = bridge.files.model(job)
    if folder is None:
        raise _elsewhere(job, "the model")
    return folder


def _checkpoint(bridge: Bridge, job: Job, name: str) -> Path:
    path = checkpoint_path(name)
    if path is None:
        raise HTTPException(422, "checkpoint: name it as checkpoints/checkpoint-<step>")
    folder = bridge.files.checkpoint(job, path)
    if folder is not None:
        return folder
    if bridge.files.folder(job) is None and job.started_at is not None:
        raise _elsewhere(job, path)
    raise HTTPException(
        404,
        f"job {job.job_id} has no checkpoint {path}: "
        f"GET /api/training/checkpoints/{job.job_id} lists them",
    )


def _elsewhere(job: Job, what: str) -> HTTPException:
    return HTTPException(
        404,
        f"{what} of job {job.job_id} does not lie on the bridge's host: it ran on {job.slot}, "
        "whose TRAINYARD_HOME has it",
    )


def _kept_lines(bridge: Bridge, job_id: str) -> Iterator[str]:
    offset, cut = 0, 0
    while True:
        page = bridge.events.logs(job_id, limit=_LINES_PER_PAGE, offset=max(offset - cut, 0))
        if not page.lines:
            return
        cut = page.lines_cut
        offset = cut + page.offset + len(page.lines)
        yield "".join(f"{line}\n" for line in page.lines)
