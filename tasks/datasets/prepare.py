"""Preparation of a request's data set: located, read, tokenised, with a report to the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from tasks.datasets.mix.mixed import read_mix, tokenise_mix
from tasks.datasets.mix.report import MixReport
from tasks.datasets.report import Report
from tasks.datasets.sets import read_sets, tokenise_sets
from tasks.datasets.sources.locate import DownloadLimits, Located, locate_dataset
from tasks.datasets.training_data import TrainingData
from tasks.errors import DatasetError
from trainyard.contract.events import TrainingSpec
from trainyard.contract.job_folder import DATA_REPORT
from trainyard.contract.names import is_upload
from trainyard.contract.request import TrainingRequest
from trainyard.contract.units import GB
from trainyard.durable_files import write_atomically

logger = logging.getLogger(__name__)


def prepare_data(
    request: TrainingRequest,
    spec: TrainingSpec,
    tokenizer: Any,
    *,
    max_length: int,
    add_eos: bool,
    end_tokens: Collection[int] = (),
) -> TrainingData:
    """Locate, read, recognise, split, tokenise and report to the log.

    Raises DatasetError, ConfigurationError.
    """
    config, cache_dir = request.config, Path(spec.cache_dir) / "datasets"
    limits = DownloadLimits(
        int(spec.max_download_gb * GB), spec.allow_private_urls, tuple(spec.s3_buckets)
    )

    def located(path: str, subset: str | None = None) -> Located:
        return locate_dataset(path, None, _roots(spec, path), cache_dir, limits, subset)

    path, data_sets, evaluates = request.dataset_path, request.datasets, request.eval_dataset_path
    how: dict[str, Any] = {
        "max_length": max_length,
        "add_eos": add_eos,
        "end_tokens": end_tokens,
        "cache_dir": cache_dir,
    }
    report: Report
    if data_sets:
        report = mixed = MixReport(request.trains_on, config.training.method, seed=config.seed)
        mix = read_mix(data_sets, located, evaluates, config, cache_dir, mixed, limits)
        if report.error is None:
            data = tokenise_mix(mix, config, tokenizer, mixed, **how)
    else:
        content, subset = request.dataset_content, config.data.subset or None
        found = locate_dataset(path, content, _roots(spec, path), cache_dir, limits, subset)
        report = Report(found.name, config.training.method)
        locate_eval = partial(located, evaluates) if evaluates else None
        sets = read_sets(found, locate_eval, config, cache_dir, report, limits)
        if report.error is None:
            data = tokenise_sets(sets, config, tokenizer, report, **how)
    write_atomically(Path(spec.job_dir) / DATA_REPORT, json.dumps(report.as_json(), indent=1))
    for line in report.lines():
        level = logging.WARNING if line.startswith("Warning") else logging.INFO
        logger.log(level, "%s", line)
    if report.error is not None:
        raise DatasetError(report.error, report.hint)
    return data


def _roots(spec: TrainingSpec, path: str) -> list[str]:
    """Folders that a data set is looked up in: uploads are in none that others are read from."""
    return [spec.uploads_root] if spec.uploads_root and is_upload(path) else spec.dataset_roots
