"""Dry run of a submission, ``trainyard submit --dry-run``: what would be trained, what it takes.

Nothing is sent, and no row is made for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainyard.cli.check_dataset import report_of
from trainyard.cli.tables import duration, number
from trainyard.client import BridgeClient, BridgeUnreachable
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.fields.job_reference import job_reference
from trainyard.contract.job_folder import MODEL
from trainyard.contract.parser import parse_request
from trainyard.contract.request import TrainingRequest
from trainyard.contract.rules import evals_not_saved
from trainyard.local.typed_paths import beneath
from trainyard.scheduling.forecast import memory_of, steps_of
from trainyard.settings import Settings

_JOBS_LOOKED_AT = 200


def forecast(body: Mapping[str, Any], current: Settings, bridge: BridgeClient) -> dict[str, Any]:
    """What is known of a prepared request. Raises TrainyardError if its data set cannot be used."""
    request = parse_request(dict(body))
    model = _model(request.config.model.name, current)
    report = _report(request, current, with_model=model is not None)
    made: dict[str, Any] = {
        "config": request.config.model_dump(mode="json", exclude_none=True),
        "dataset_path": request.trains_on,
        "eval_dataset_path": request.eval_dataset_path,
        "data": report,
        "steps": None,
        "memory": None,
        "seconds": None,
    }
    if report is not None:
        made["steps"] = steps_of(request.config, _kept(report)["train"])
        made["seconds"] = _seconds(request, report, made["steps"], bridge)
        if (report["splits"].get("eval") or report.get("eval_set")) and (
            missed := evals_not_saved(request.config.training)
        ):
            report["warnings"] = [*report["warnings"], missed]
    if model is not None and not (model / "adapter_config.json").exists():
        length = request.config.training.max_length or (report or {}).get("max_length") or 1024
        memory = memory_of(request.config, model, int(length))
        made["memory"] = vars(memory) if memory else None
    return made


def lines(made: Mapping[str, Any]) -> Iterator[str]:
    """For people."""
    training = {k: v for k, v in made["config"]["training"].items() if v not in (None, {}, [])}
    yield f"model       {made['config']['model']['name']}"
    yield f"settings    {', '.join(f'{name} {value}' for name, value in training.items())}"
    report = made["data"]
    if report is None:
        yield "data        sent with the request, or not on this machine: not looked at"
    else:
        splits = ", ".join(f"{name} {rows:,}" for name, rows in report["splits"].items())
        dropped = f"; {report['dropped']:,} of them dropped" if report.get("dropped") else ""
        yield f"data        {report['rows']:,} rows of {made['dataset_path']} ({splits}){dropped}"
        if report.get("eval_set"):
            yield f"eval data   {report['eval_set']['rows']:,} rows of {made['eval_dataset_path']}"
        for one in report.get("sets", ()):
            used = f"{one['used']['train']:,} train, {one['used']['eval']:,} evaluate"
            yield f"  set       {one['rows']:,} rows of {Path(one['path']).name}: {used}"
        for warning in report["warnings"]:
            yield f"  note      {warning}"
    yield f"steps       {'not known' if made['steps'] is None else format(made['steps'], ',')}"
    memory = made["memory"]
    if memory is None:
        yield "memory      not known: the model is not on this machine"
    else:
        yield (
            f"memory      {number(memory['weights_gb'], 3)} GB, and about "
            f"{number(memory['step_gb'], 2)} GB for a step, in each process"
        )
        yield f"            ({memory['how']})"
    seconds = made["seconds"]
    if seconds is None:
        yield "time        not known: no job of this model has been completed here"
    else:
        yield f"time        about {duration(seconds['seconds'])}, as fast as {seconds['as']} was"


def _report(
    request: TrainingRequest, current: Settings, *, with_model: bool
) -> dict[str, Any] | None:
    """The data set's check; None if it cannot be looked at from here."""
    named = [one.path for one in request.datasets or ()] or [request.dataset_path]
    found = [path for name in named if name and (path := beneath(name, current.dataset_roots))]
    if len(found) < len(named):
        return None
    several = [
        one.model_copy(update={"path": str(path)})
        for one, path in zip(request.datasets or (), found, strict=False)
    ]
    config = request.config.model_copy(update={"datasets": several or None})
    name = request.trains_on if several else str(found[0])
    evaluates = request.eval_dataset_path
    here = beneath(evaluates, current.dataset_roots) if evaluates else None
    eval_path = evaluates if here is None else str(here)
    report: dict[str, Any] = report_of(name, eval_path, config, current, with_model=with_model)
    if not report["usable"]:
        raise TrainyardError(str(report["error"]), str(report.get("hint") or ""))
    return report


def _model(name: str, current: Settings) -> Path | None:
    """Where the model lies, or the result or checkpoint of a job that is meant; None: not here."""
    reference = job_reference(name)
    if reference is None:
        return beneath(name, current.model_roots)
    folder = current.job_dir(reference.job_id) / (reference.checkpoint or MODEL)
    return folder if folder.is_dir() else None


def _seconds(
    request: TrainingRequest, report: Mapping[str, Any], steps: int, bridge: BridgeClient
) -> dict[str, Any] | None:
    """By the newest completed job of the same model: its tokens in a second."""
    if not report.get("tokens"):
        return None
    try:
        jobs = bridge.jobs(status="completed", limit=_JOBS_LOOKED_AT)
    except BridgeUnreachable:
        return None  # the rest is known without it
    for job in jobs:
        speed = (job["result"] or {}).get("tokens_per_second")
        if job["model_name"] == request.config.model.name and speed:
            training = request.config.training
            a_step = training.batch_size * training.gradient_accumulation_steps * training.processes
            tokens = report["tokens"] / sum(_kept(report).values()) * a_step * steps
            return {"seconds": tokens / speed, "as": job["job_id"]}
    return None


def _kept(report: Mapping[str, Any]) -> dict[str, int]:
    """Rows of each split that are trained on or evaluated; those dropped lie evenly, we suppose."""
    splits = dict(report["splits"])
    if report.get("eval_set"):
        splits.pop("eval")  # it is counted in a report of its own
    if report.get("sets"):  # what is dropped is no part of a mix
        return {"train": 0, **splits}
    share = 1 - (report.get("dropped") or 0) / max(1, sum(splits.values()))
    return {"train": 0, **{name: round(rows * share) for name, rows in splits.items()}}
