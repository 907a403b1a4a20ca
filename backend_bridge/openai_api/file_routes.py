"""Routes of OpenAI's files: ``/v1/files``, for data sets of fine-tunings and their results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from starlette.requests import ClientDisconnect

from backend_bridge.api.openapi import BINARY
from backend_bridge.openai_api.context import ThisTuning
from backend_bridge.openai_api.errors import ApiRefusal
from backend_bridge.openai_api.files.multipart import Form, MalformedForm
from backend_bridge.openai_api.files.store import (
    FILE_BYTES_MAX,
    TOO_LARGE,
    StoredFile,
    Upload,
    UploadRefused,
)
from backend_bridge.openai_api.job_objects import result_file_id
from backend_bridge.openai_api.jobs import Tuning
from backend_bridge.openai_api.listing import After, Listing, following, listing
from backend_bridge.openai_api.results import PURPOSE, job_of, result_object, table
from trainyard.contract.statuses import JobStatus
from trainyard.contract.units import KIB
from trainyard.store.job import Job

router = APIRouter(prefix="/files")
_FORM_BYTES_MAX = FILE_BYTES_MAX + 64 * KIB
_LIVES_S = range(3600, 2_592_001)
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
_Limit = Annotated[int, Query(ge=1, le=10_000)]


@router.post("")
async def upload(tuning: ThisTuning, request: Request) -> dict[str, Any]:
    """Take a file of JSON lines, of the purpose `fine-tune`."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > _FORM_BYTES_MAX:
        raise ApiRefusal(413, TOO_LARGE, param="file")
    try:
        return _of_upload(await _stored(tuning, request))
    except (MalformedForm, UploadRefused) as error:
        status = 413 if isinstance(error, UploadRefused) and error.is_too_large else 400
        raise ApiRefusal(status, str(error), param="file") from None
    except OSError as error:
        raise ApiRefusal(507, f"the file cannot be stored: {error.strerror}") from None


async def _stored(tuning: Tuning, request: Request) -> StoredFile:
    arriving: Upload = await run_in_threadpool(lambda: tuning.files.begin(tuning.files_in_use()))
    try:
        form = Form(request.headers.get("content-type", ""), arriving.write)
        await _receive(form, request)
        return await run_in_threadpool(_keep, arriving, form)
    finally:
        await asyncio.shield(run_in_threadpool(arriving.close))  # the client may be gone


async def _receive(form: Form, request: Request) -> None:
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > _FORM_BYTES_MAX:
                raise UploadRefused(TOO_LARGE, is_too_large=True)
            await run_in_threadpool(form.feed, chunk)
    except ClientDisconnect:
        raise MalformedForm("the client left before it had sent its file") from None
    if not form.is_whole or form.filename is None:
        raise MalformedForm("the form has no whole field 'file'")


def _keep(arriving: Upload, form: Form) -> StoredFile:
    purpose = form.fields.get("purpose")
    if purpose != "fine-tune":
        raise ApiRefusal(400, f"files of the purpose {purpose!r} are not kept", param="purpose")
    if unknown := form.fields.keys() - set(_FIELDS):
        name = min(unknown)
        raise ApiRefusal(400, f"the field {name!r} means nothing here", param=name)
    return arriving.keep(form.filename or "", purpose, _lives_s(form))


def _lives_s(form: Form) -> int | None:
    _, anchor, seconds = (form.fields.get(name) for name in _FIELDS)
    if anchor is None and seconds is None:
        return None
    wanted = int(seconds) if seconds and seconds.isdecimal() and len(seconds) < 10 else 0
    if anchor != "created_at" or wanted not in _LIVES_S:
        said = "expires_after has the anchor created_at, and 3600 to 2592000 seconds"
        raise ApiRefusal(400, said, param="expires_after")
    return wanted


@router.get("")
def files(
    tuning: ThisTuning,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    limit: _Limit = 10_000,
    after: After = None,
    order: Literal["asc", "desc"] = "desc",
) -> Listing:
    """Files and results, the newest first."""
    found: list[StoredFile | Job] = []
    if purpose in (None, "fine-tune"):
        found += tuning.files.files()
    if purpose in (None, PURPOSE):
        found += tuning.succeeded()
    found.sort(key=_made, reverse=order == "desc")
    named: Sequence[dict[str, Any]] = [{"id": _id(one), "of": one} for one in found]
    page = [one["of"] for one in following(named, after)[: limit + 1]]
    return listing([_object(tuning, one) for one in page], limit)


@router.get("/{file_id}")
def file(tuning: ThisTuning, file_id: str) -> dict[str, Any]:
    """Facts of one."""
    return _object(tuning, _find(tuning, file_id))


@router.get("/{file_id}/content", response_class=Response)
def content(tuning: ThisTuning, file_id: str) -> Response:
    """Its bytes, as they came."""
    found = _find(tuning, file_id)
    if isinstance(found, Job):
        return Response(table(tuning.bridge.events, found), media_type="text/csv")
    return FileResponse(tuning.files.rows(found), media_type=BINARY, filename=found.filename)


@router.delete("/{file_id}")
def delete(tuning: ThisTuning, file_id: str) -> dict[str, Any]:
    """Delete one, unless a job that has not ended uses it."""
    found = _find(tuning, file_id)
    if isinstance(found, Job):
        raise ApiRefusal(400, "results go with their job", param="file_id")
    if file_id in tuning.files_in_use():
        said = f"{file_id} is used by a job that has not ended: cancel it first"
        raise ApiRefusal(400, said, param="file_id", code="file_in_use")
    tuning.files.delete(found)
    return {"object": "file", "id": file_id, "deleted": True}


def _find(tuning: Tuning, file_id: str) -> StoredFile | Job:
    job_id = job_of(file_id)
    if job_id is None:
        found: StoredFile | Job | None = tuning.files.get(file_id)
    else:
        job, _ = tuning.find(job_id)
        found = job if job.status is JobStatus.COMPLETED else None
    if found is None:
        raise HTTPException(404, f"there is no file {file_id!r}")
    return found


def _made(one: StoredFile | Job) -> tuple[float, str]:
    made = one.created_at if isinstance(one, StoredFile) else (one.completed_at or 0.0)
    return made, _id(one)


def _id(one: StoredFile | Job) -> str:
    return one.id if isinstance(one, StoredFile) else result_file_id(one.job_id)


def _object(tuning: Tuning, one: StoredFile | Job) -> dict[str, Any]:
    return (
        _of_upload(one) if isinstance(one, StoredFile) else result_object(tuning.bridge.events, one)
    )


def _of_upload(file: StoredFile) -> dict[str, Any]:
    made = {"object": "file", **file.model_dump(exclude_none=True), "status": "processed"}
    return made | {name: int(made[name]) for name in ("created_at", "expires_at") if name in made}
