"""Jobs that a request names in ``after``: they are there, and may complete."""

from __future__ import annotations

from trainyard.contract.request import FieldProblem, RequestInvalid, StartRequest
from trainyard.contract.statuses import RESTARTABLE
from trainyard.store.job_store import JobStore


def refuse_unknown(request: StartRequest, store: JobStore) -> None:
    """Raises RequestInvalid for a job that cannot be awaited.

    Of a request that was admitted before nothing is asked again.
    """
    if not request.after:
        return
    of_a_known_sweep = request.group is not None and store.group(request.group.id)
    if of_a_known_sweep or store.get(request.execution_id) is not None:
        return
    found = list[FieldProblem]()
    for place, job_id in enumerate(request.after):
        job = store.get(job_id)
        if job is None:
            said = f"there is no job {job_id}: `trainyard ps` lists them"
        elif job.status in RESTARTABLE:
            said = f"job {job_id} is {job.status}: `trainyard force-start {job_id}` queues it again"
        else:
            continue
        found.append(FieldProblem(path=f"after.{place}", message=said))
    if found:
        raise RequestInvalid(found)
