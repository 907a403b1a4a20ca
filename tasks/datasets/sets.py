"""Data sets of a training: the one that trains and, if it is of its own, the one that evaluates.

Each has the same checks and a report of its own; the eval set's stands within the other's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.datasets.opened import digests_of
from tasks.datasets.read_data import read_data
from tasks.datasets.report import Report
from tasks.datasets.sources.locate import DownloadLimits, Located
from tasks.datasets.split import Digests, repeated
from tasks.datasets.training_data import ReadData, TrainingData, tokenise_data
from tasks.errors import DatasetError
from trainyard.contract.config import JobConfig

_WHOSE = "Of the eval data set:"


@dataclass(frozen=True)
class ReadSets:
    """What was read; ``eval`` only if it is a data set of its own."""

    train: ReadData
    eval: ReadData | None = None


def read_sets(
    found: Located,
    locate_eval: Callable[[], Located] | None,
    config: JobConfig,
    cache_dir: Path,
    report: Report,
    limits: DownloadLimits,
) -> ReadSets:
    """Read what trains, then what evaluates. Raises DatasetError, ConfigurationError."""
    if locate_eval is None:
        return ReadSets(read_data(found, config, cache_dir, report, limits))
    train = read_data(found, config, cache_dir, report, limits, role="train")
    evaluation = read_eval(locate_eval, config, cache_dir, report, limits)
    report.leaked = repeated(train_digests(train), train_digests(evaluation))
    return ReadSets(train, evaluation)


def read_eval(
    locate_eval: Callable[[], Located],
    config: JobConfig,
    cache_dir: Path,
    report: Report,
    limits: DownloadLimits,
) -> ReadData:
    """Read what evaluates; ``report``: of what trains. Raises DatasetError, ConfigurationError."""
    if config.data.eval_split or config.data.train_split:
        report.notes.append(
            "eval_dataset_path evaluates, and all rows here train: data.train_split and "
            "data.eval_split are not used."
        )
    with _of_eval(report) as own:
        located = locate_eval()
        own.path = located.name
        return read_data(located, for_eval(config), cache_dir, own, limits, role="eval")


def train_digests(read: ReadData) -> Digests:
    """What tells the rows on the side that trains from each other."""
    part, rows = read.train
    return digests_of(read.stored[part], rows)


def tokenise_sets(
    sets: ReadSets, config: JobConfig, tokenizer: Any, report: Report, **how: Any
) -> TrainingData:
    """As :func:`tokenise_data`, of both. Raises DatasetError."""
    train = tokenise_data(sets.train, config, tokenizer, report, **how)
    if sets.eval is None:
        return train
    evaluation = tokenise_eval(sets.eval, config, tokenizer, report, **how)
    return replace(train, eval=evaluation.train)


def tokenise_eval(
    read: ReadData, config: JobConfig, tokenizer: Any, report: Report, **how: Any
) -> TrainingData:
    """As :func:`tokenise_data`; ``report``: of what trains. Raises DatasetError."""
    with _of_eval(report) as own:
        evaluation = tokenise_data(read, for_eval(config), tokenizer, own, **how)
        # Of the chat template the other report has said it.
        own.turn_end = None
        own.notes = [note for note in own.notes if note not in report.notes]
    return evaluation


def for_eval(config: JobConfig) -> JobConfig:
    """``config`` as it goes for the eval set: subset and split are those of what trains."""
    data = config.data.model_copy(update={"subset": None, "split": None})
    return config.model_copy(update={"data": data})


@contextmanager
def _of_eval(report: Report) -> Iterator[Report]:
    """The eval set's own report; what is wrong with it is wrong with the whole.

    Raises DatasetError.
    """
    own = report.eval_set = report.eval_set or Report("", report.method)
    own.splits = {"train": own.splits.pop("eval", 0), "eval": 0}
    try:
        yield own
    except DatasetError as error:
        mend = error.mend.replace("Check dataset_path", "Check eval_dataset_path")
        own.error, own.hint = error.sentence, mend
        raise DatasetError(f"{_WHOSE} {error.sentence}", mend) from error
    own.splits = {"eval": own.splits["train"]}
    report.splits |= own.splits
    if own.error is not None and report.error is None:
        report.error, report.hint = f"{_WHOSE} {own.error}", own.hint
