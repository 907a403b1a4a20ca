"""Several data sets as one training: each read and tokenised by itself, then mixed by the seed.

The tokens of each are kept in the cache as if it stood alone; the mix is an order of their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy

from tasks.datasets.mix.draw import (
    MIXED_ROWS_MAX,
    Purpose,
    drawn,
    mixed,
    random_numbers,
    repeated_to,
    rows_wanted,
)
from tasks.datasets.mix.report import MixReport, SetReport
from tasks.datasets.opened import digests_of
from tasks.datasets.read_data import Role, read_data
from tasks.datasets.sets import read_eval, tokenise_eval, train_digests
from tasks.datasets.sources.locate import DownloadLimits, Located
from tasks.datasets.split import Digests, Indices, repeated
from tasks.datasets.tokens.tokenise import Tokenised
from tasks.datasets.training_data import ReadData, TrainingData, tokenise_data
from tasks.errors import ConfigurationError, DatasetError
from trainyard.contract.config import JobConfig
from trainyard.contract.fields.data_sets import DataSet
from trainyard.contract.units import GB

Locate = Callable[[str, str | None], Located]
"""From a path and a subset to what is read. Raises DatasetError."""


@dataclass(frozen=True)
class DrawnSet:
    """One set, read: the rows of it that train are those drawn, each once. ``repeated``: more are
    wanted than it has."""

    asked: DataSet
    report: SetReport
    read: ReadData
    repeated: bool

    def wanted(self, rows: int) -> int:
        """Rows of the mix, if so many of those drawn are left."""
        return rows_wanted(rows, self.asked) if self.repeated else rows


@dataclass(frozen=True)
class ReadMix:
    """What was read, in order; ``eval`` only if it is a data set of its own."""

    sets: list[DrawnSet]
    eval: ReadData | None = None


def read_mix(
    data_sets: Sequence[DataSet],
    locate: Locate,
    eval_path: str,
    config: JobConfig,
    cache_dir: Path,
    report: MixReport,
    limits: DownloadLimits,
) -> ReadMix:
    """Read every set and draw its rows; what is found of each goes into a report of its own.

    ``eval_path``: a data set that only evaluates, or "". Raises DatasetError if one cannot be read,
    after all were looked at; ConfigurationError.
    """
    role: Role = "train" if eval_path else "both"
    found, fetched = [], dict[Path, int]()
    for number, asked in enumerate(data_sets, 1):
        if sum(fetched.values()) > limits.max_bytes:
            raise _too_large(number - 1, limits)
        own = SetReport(asked.path, report.method, asked=asked, number=number)
        report.sets.append(own)
        with report.of(own):
            here = for_set(config, asked)
            located = locate(asked.path, here.data.subset or None)
            if located.held is None:
                fetched[located.path] = _bytes_below(located.path)
            read = read_data(located, here, cache_dir, own, limits, role=role)
            found.append(_drawn(read, asked, own, config.seed))
    report.add_up()
    if len(found) < len(data_sets):
        raise DatasetError(str(report.error), report.hint)
    _refuse_too_many(found)
    evaluation = None
    if eval_path:
        evaluation = read_eval(lambda: locate(eval_path, None), config, cache_dir, report, limits)
    _compare(found, evaluation, report)
    report.add_up()
    return ReadMix(found, evaluation)


def _bytes_below(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def _too_large(sets: int, limits: DownloadLimits) -> DatasetError:
    return DatasetError(
        f"The first {sets} of the data sets are too large: at most {limits.max_bytes / GB:g} GB "
        "may be downloaded for a job.",
        "Put them below DATASET_ROOTS, or raise MAX_DOWNLOAD_GB where the worker is started.",
    )


def for_set(config: JobConfig, asked: DataSet) -> JobConfig:
    """``config`` as it goes for one of the sets."""
    names = ("columns", "subset", "split")
    own = {name: value for name in names if (value := getattr(asked, name)) is not None}
    return config.model_copy(update={"data": config.data.model_copy(update=own)})


def _drawn(read: ReadData, asked: DataSet, own: SetReport, seed: int) -> DrawnSet:
    """With fewer rows, if fewer are wanted; the same share of those that evaluate is left."""
    (part, rows), (eval_part, evaluation) = read.train, read.eval
    wanted = rows_wanted(len(rows), asked)
    if wanted < len(rows):
        # A ready-made eval split is used whole.
        if eval_part == part and len(evaluation):
            count = max(1, round(len(evaluation) * wanted / len(rows)))
            random = random_numbers(seed, Purpose.EVAL, own.number)
            evaluation = drawn(evaluation, count, random)
        rows = drawn(rows, wanted, random_numbers(seed, Purpose.TRAIN, own.number))
    read = replace(read, train=(part, rows), eval=(eval_part, evaluation))
    own.splits = {"train": len(rows), "eval": len(evaluation)}
    own.train = wanted if len(rows) else 0
    own.leaked = repeated(train_digests(read), _eval_digests(read))
    return DrawnSet(asked, own, read, repeated=wanted > len(rows))


def _eval_digests(read: ReadData) -> Digests:
    part, rows = read.eval
    return digests_of(read.stored[part], rows)


def _refuse_too_many(found: Sequence[DrawnSet]) -> None:
    rows = [len(one.read.train[1]) for one in found]
    total = sum(one.wanted(count) for one, count in zip(found, rows, strict=True))
    if total > max(MIXED_ROWS_MAX, sum(rows)):
        raise ConfigurationError(
            f"The data sets come to {total:,} rows, as weight and samples repeat them; a mix has "
            f"at most {MIXED_ROWS_MAX:,}.",
            "Lower weight or samples in datasets; config.training.num_epochs goes through all of "
            "them several times.",
        )


def _compare(found: Sequence[DrawnSet], evaluation: ReadData | None, report: MixReport) -> None:
    """Count the rows that several sets have, and those that train and evaluate."""
    train = [numpy.unique(train_digests(one.read)) for one in found]
    every = numpy.unique(numpy.concatenate(train))
    report.shared = sum(map(len, train)) - len(every)
    own = [_eval_digests(one.read) for one in found]
    evaluates = own if evaluation is None else [train_digests(evaluation)]
    report.leaked = repeated(every, numpy.concatenate(evaluates))
    evaluating = report.splits.get("eval", sum(map(len, own)))
    report.splits = {"train": sum(one.report.train or 0 for one in found), "eval": evaluating}


def tokenise_mix(
    mix: ReadMix, config: JobConfig, tokenizer: Any, report: MixReport, **how: Any
) -> TrainingData:
    """Tokenise every set and mix them; what is found goes into the reports.

    ``how``: as of :func:`tokenise_data`. Raises DatasetError if of a set no row is left.
    """
    made = []
    for one in mix.sets:
        with report.of(one.report):
            made.append(
                tokenise_data(one.read, for_set(config, one.asked), tokenizer, one.report, **how)
            )
    report.add_up()
    if len(made) < len(mix.sets):
        raise DatasetError(str(report.error), report.hint)
    _refuse_two_forms(made, mix.sets)
    stay = [config.training.how.whole_documents and _is_one_text(one.read) for one in mix.sets]
    train, evaluation = _mixed_rows(mix.sets, made, stay, config.seed)
    report.splits = {"train": len(train.dataset), "eval": len(evaluation.dataset)}
    report.tokens = train.tokens + evaluation.tokens
    report.trained_tokens = train.trained_tokens + evaluation.trained_tokens
    first = made[0]
    data = TrainingData(
        train,
        evaluation if len(evaluation.dataset) else None,
        first.shape,
        report,
        next((one.turn_end for one in made if one.turn_end is not None), None),
        next((one.conversation for one in made if one.conversation is not None), None),
    )
    if mix.eval is None:
        return data
    return replace(data, eval=tokenise_eval(mix.eval, config, tokenizer, report, **how).train)


def _is_one_text(read: ReadData) -> bool:
    return read.parts[read.train[0]].continuous


def _refuse_two_forms(made: Sequence[TrainingData], sets: Sequence[DrawnSet]) -> None:
    for data, one in zip(made, sets, strict=True):
        if data.train.dataset.features != made[0].train.dataset.features:
            raise DatasetError(
                f"Of data set {one.report.number}, {one.asked.path}: its prompts and those of "
                f"{sets[0].asked.path} are not of one form, text or messages.",
                "Write the plain ones as messages, as in "
                '{"prompt": [{"role": "user", "content": "..."}]}.',
            )


def _mixed_rows(
    sets: Sequence[DrawnSet], made: Sequence[TrainingData], stay: Sequence[bool], seed: int
) -> tuple[Tokenised, Tokenised]:
    """The rows that train and those that evaluate, each in one order of all sets."""
    train, evaluation = [], []
    for one, data in zip(sets, made, strict=True):
        count = len(data.train.dataset)
        random = random_numbers(seed, Purpose.REST, one.report.number)
        rows = repeated_to(one.wanted(count), count, random)
        train.append((data.train, rows))
        evaluates = 0 if data.eval is None else len(data.eval.dataset)
        if data.eval is not None:
            evaluation.append((data.eval, numpy.arange(evaluates)))
        one.report.train = len(rows)
        one.report.splits = {"train": count, "eval": evaluates}
    of_eval = [stays for stays, data in zip(stay, made, strict=True) if data.eval is not None]
    empty = made[0].train.dataset.select(range(0))
    return (
        _joined(train, stay, random_numbers(seed, Purpose.TRAIN_ORDER)),
        _joined(evaluation, of_eval, random_numbers(seed, Purpose.EVAL_ORDER))
        if evaluation
        else Tokenised(empty, 0, 0, 0, 0),
    )


def _joined(
    sets: Sequence[tuple[Tokenised, Indices]], stay: Sequence[bool], random: numpy.random.Generator
) -> Tokenised:
    """The rows of all; tokens of a rest that was drawn are counted by its share of the rows."""
    joined = datasets.concatenate_datasets([tokens.dataset for tokens, _ in sets])
    starts = numpy.cumsum([0, *(len(tokens.dataset) for tokens, _ in sets)])
    places = [start + rows for start, (_, rows) in zip(starts, sets, strict=False)]
    shares = [(tokens, len(rows) / max(len(tokens.dataset), 1)) for tokens, rows in sets]
    return Tokenised(
        joined.select(mixed(places, stay, random)),
        tokens=sum(round(tokens.tokens * share) for tokens, share in shares),
        trained_tokens=sum(round(tokens.trained_tokens * share) for tokens, share in shares),
        dropped=sum(tokens.dropped for tokens, _ in sets),
        cut=sum(tokens.cut for tokens, _ in sets),
    )
