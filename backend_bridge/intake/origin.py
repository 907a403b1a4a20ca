"""Origin of a job: the job that ``config.model.name`` refers to, if it can be gone on from."""

from __future__ import annotations

from backend_bridge.intake.chosen_checkpoint import reason_against
from trainyard.contract.config import LoraConfig
from trainyard.contract.fields.job_reference import JobReference, job_reference
from trainyard.contract.request import FieldProblem, RequestInvalid, StartRequest, TrainingRequest
from trainyard.contract.statuses import RESTARTABLE, JobStatus
from trainyard.store.job import Job
from trainyard.store.job_files import JobFiles
from trainyard.store.job_store import JobStore


def find_origin(request: StartRequest, store: JobStore, files: JobFiles | None) -> Job | None:
    """The job whose result, or checkpoint, the request goes on from; None if of no job.

    Of a request that was admitted before nothing is asked again. Raises RequestInvalid.
    """
    reference = job_reference(request.config.model.name)
    if reference is None:
        return None
    job = store.get(reference.job_id)
    if store.get(request.execution_id) is not None:
        return job
    if (said := _reason_against(reference, job, files)) is not None:
        raise RequestInvalid([FieldProblem(path="config.model.name", message=said)])
    assert job is not None, "else there is a reason"
    try:
        its = TrainingRequest.model_validate(store.request(job.job_id))
    except KeyError:  # removed just now
        said = _no_such_job(reference)
        raise RequestInvalid([FieldProblem(path="config.model.name", message=said)]) from None
    if (said := _other_kind(request, its, reference)) is not None:
        raise RequestInvalid([FieldProblem(path="config.lora.adapter", message=said)])
    return job


def _reason_against(reference: JobReference, job: Job | None, files: JobFiles | None) -> str | None:
    if job is None:
        return _no_such_job(reference)
    if reference.checkpoint is not None:
        if not job.home:
            return f"job {job.job_id} has no checkpoint: it is {job.status}"
        return None if files is None else reason_against(job, reference.checkpoint, files)
    if job.status in RESTARTABLE:  # one that has not ended is awaited
        return (
            f"job {job.job_id} is {job.status} and has no result; "
            f"job:{job.job_id}@checkpoint-N goes on from a checkpoint"
        )
    ended = job.status is JobStatus.COMPLETED
    if ended and files and files.folder(job) is not None and files.model(job) is None:
        return f"the result of job {job.job_id} is not there any more"
    return None


def _no_such_job(reference: JobReference) -> str:
    return f"there is no job {reference.job_id}: `trainyard ps` lists them"


def _other_kind(request: StartRequest, its: TrainingRequest, reference: JobReference) -> str | None:
    """Why an adapter cannot be taken up so, or that there is none."""
    asked = (request.config.lora or LoraConfig()).adapter
    if not its.config.training.use_lora:
        if asked == "continue":
            return f"the model of job {reference.job_id} is whole, and no adapter: leave it out"
        return None
    if request.config.training.use_lora and asked is None:
        return (
            f"the model of job {reference.job_id} is an adapter: 'continue' trains it on, 'new' "
            "merges it with its base model and puts a new one on top"
        )
    return None
