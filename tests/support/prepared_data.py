"""Data of a training as its process prepares them, from a home with data sets and a tiny model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from tasks.datasets.check import CheckSpec, check
from tasks.datasets.prepare import prepare_data
from tasks.datasets.report import Report
from tasks.datasets.training_data import TrainingData
from trainyard.contract.events import TrainingSpec
from trainyard.contract.parser import parse_request


def prepared_here(
    home: Path, body: Mapping[str, Any], template: str, *, max_length: int
) -> TrainingData:
    """What ``body`` asks for; all its paths, and the model ``tiny``, lie below ``home``."""
    spec = TrainingSpec(
        job_id="job-1",
        attempt=1,
        slot="host-0",
        job_dir=str(home / "jobs"),
        cache_dir=str(home / "cache"),
        dataset_roots=[str(home)],
        model_roots=[str(home)],
    )
    tokenizer = AutoTokenizer.from_pretrained(home / "tiny")
    tokenizer.chat_template = template
    return prepare_data(parse_request(body), spec, tokenizer, max_length=max_length, add_eos=True)


def checked(
    path: Path | str,
    cache: Path,
    *,
    model: str | None = None,
    with_model: bool | None = None,
    roots: Sequence[Path] = (),
    eval_path: str = "",
    datasets: list[dict[str, Any]] | None = None,
    **config: Any,
) -> Report:
    """What the check of a data set says; it counts tokens if a model is named."""
    body = {"config": {"model": {"name": model or "-"}, **config}, "job_token": "tok-of-a-test"}
    body |= {"datasets": datasets} if datasets else {"dataset_path": str(path)}
    request = parse_request(body)
    spec = CheckSpec(
        path=str(path),
        eval_path=eval_path,
        config=request.config.model_copy(update={"datasets": request.datasets}),
        with_model=model is not None if with_model is None else with_model,
        model_roots=[str(root) for root in roots],
        cache_dir=str(cache),
    )
    return check(spec)
