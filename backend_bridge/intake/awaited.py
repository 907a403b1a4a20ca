"""Jobs, and sweeps, that a request names in ``after``: they are there, and may complete."""

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
    for place, name in enumerate(request.after):
        jobs = store.group(name) or store.jobs([name])
        lost = next((job for job in jobs if job.status in RESTARTABLE), None)
        if not jobs:
            said = f"there is no job {name}: `trainyard ps` lists them"
        elif lost is not None:
            mend = f"`trainyard force-start {lost.job_id}` queues it again"
            said = f"job {lost.job_id} is {lost.status}: {mend}"
        else:
            continue
        found.append(FieldProblem(path=f"after.{place}", message=said))
    if found:
        raise RequestInvalid(found)
