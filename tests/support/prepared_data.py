"""Data of a training as its process prepares them, from a home with data sets and a tiny model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from tasks.datasets.prepare import prepare_data
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
