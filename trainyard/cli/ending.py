"""Ending of a job in words: what was waited for, where it lies, and what to do with it next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainyard.cli.tables import number
from trainyard.contract.units import MB
from trainyard.contract.verdicts import NOTES
from trainyard.log_lines import clean
from trainyard.settings import Settings
from trainyard.store.job_files import result_sizes


def ending(job: Mapping[str, Any], current: Settings) -> Iterator[str]:
    """Lines on the result of a completed job; none for another."""
    result = job["result"]
    if job["status"] != "completed" or not result:
        return
    yield from _losses(job, result)
    for verdict in job.get("warnings") or ():
        word = "note" if verdict["kind"] in NOTES else "warning"
        yield f"  {word:<12}{clean(verdict['sentence'])}"
    job_id = job["job_id"]
    folder = current.job_dir(job_id) / str(result.get("model_dir", "model"))
    if folder.is_dir():
        yield f"  model       {folder.absolute()} ({_sizes(folder)})"
        yield f"  take it     trainyard export {job_id} --to DIR  (or: trainyard push {job_id})"
    else:  # trained on another host
        yield f"  download    {current.bridge_url}/api/training/{job_id}/download/model"
    yield f"  try it      trainyard generate {job_id} --prompt '...'  (or: trainyard chat {job_id})"


def _sizes(folder: Path) -> str:
    own, merged = (size / MB for size in result_sizes(folder))
    return f"adapter {own:,.1f} MB, merged {merged:,.1f} MB" if merged else f"{own:,.1f} MB"


def _losses(job: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
    """Before and after, the best, and which step of all was saved."""
    first, last = result.get("first_eval_loss"), result.get("last_eval_loss")
    if last is not None:
        before = f"{number(first)} before, " if first is not None else ""
        yield f"  eval loss   {before}{number(last)} after"
    elif result.get("train_loss") is not None:
        yield f"  train loss  {number(result['train_loss'])} at the end"
    saved, steps = result.get("saved_step"), result.get("steps")
    if saved is None or steps is None:
        return
    best, best_step = job.get("best_eval_loss"), job.get("best_step")
    what = "the last" if saved == steps else "an earlier one"
    if best_step is not None:
        better = f"the best eval was {number(best)} at step {best_step}"
        what = "the best" if saved == best_step else f"{what}; {better}"
    yield f"  saved       step {saved} of {steps}, {what}"
