"""Ending of a job in words: what was waited for, where it lies, and what to do with it next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainyard.cli.tables import number
from trainyard.contract.units import MB
from trainyard.durable_files import size_of
from trainyard.log_lines import clean
from trainyard.settings import Settings


def ending(job: Mapping[str, Any], current: Settings) -> Iterator[str]:
    """Lines on the result of a completed job; none for another."""
    result = job["result"]
    if job["status"] != "completed" or not result:
        return
    first, last = result.get("first_eval_loss"), result.get("last_eval_loss")
    if last is not None:
        before = f"{number(first)} before, " if first is not None else ""
        yield f"  eval loss   {before}{number(last)} after"
    elif result.get("train_loss") is not None:
        yield f"  train loss  {number(result['train_loss'])} at the end"
    for warning in job.get("warnings") or ():
        yield f"  note        {clean(warning['sentence'])}"
    folder = current.job_dir(job["job_id"]) / str(result.get("model_dir", "model"))
    if not folder.is_dir():  # trained on another host
        yield f"  download    {current.bridge_url}/api/training/{job['job_id']}/download/model"
        return
    yield f"  model       {folder} ({size_of(folder) / MB:,.1f} MB)"
    models = (
        [folder] if not (folder / "adapter_config.json").exists() else [_base(job, current), folder]
    )
    named = " ".join(f"--model {model}" for model in models)
    yield f"  try it      python -m tasks.demo.generate {named} --prompt '...'"


def _base(job: Mapping[str, Any], current: Settings) -> str | Path:
    """What an adapter is loaded upon: a folder of this machine, or the name at the hub."""
    folders = (root / job["model_name"] for root in current.model_roots)
    return next((folder for folder in folders if folder.is_dir()), str(job["model_name"]))
