"""Reports on several data sets that are mixed: one on each, and one on the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.datasets.readers.problems import PROBLEMS_KEPT
from tasks.datasets.report import Report, printable, row_count
from tasks.errors import DatasetError
from trainyard.contract.fields.data_sets import DataSet
from trainyard.contract.verdicts import Verdict, VerdictKind


@dataclass
class SetReport(Report):
    """What was found in one of them. ``train``: rows that it adds to the training, repeated ones
    counted; None if that is not known."""

    asked: DataSet = field(default_factory=lambda: DataSet(path="-"))
    number: int = 0
    train: int | None = None

    @property
    def repeats(self) -> str:
        """How often its rows stand in the mix, if some do more than once."""
        once, all_ = self.splits.get("train", 0), self.train or 0
        return f" ({once:,} rows, {all_ / once:.3g} times each)" if 0 < once < all_ else ""

    @property
    def left_out_rows(self) -> int:
        """Rows that cannot be used, or of which ``max_length`` leaves nothing."""
        return self.problem_count + self.dropped

    @property
    def summary(self) -> str:
        """One line: rows found, left out, and used."""
        train = self.splits.get("train", 0) if self.train is None else self.train
        return (
            f"{self.asked.title}: {row_count(self.rows)} found, {self.left_out_rows:,} left out, "
            f"{train:,} train{self.repeats}, {self.splits.get('eval', 0):,} evaluate"
        )

    def as_json(self) -> dict[str, Any]:
        """As of a data set that stands alone, with what of it goes into the mix."""
        used = {"train": self.train, "eval": self.splits.get("eval", 0)}
        asked = {"weight": self.asked.weight, "samples": self.asked.samples}
        return {**super().as_json(), **asked, "left_out_rows": self.left_out_rows, "used": used}


@dataclass
class MixReport(Report):
    """What was found in all of them: sums, with a report of each in ``sets``.

    ``leaked`` counts across the sets; ``shared`` rows of one stand in an earlier one, too.
    """

    seed: int = 0
    sets: list[SetReport] = field(default_factory=list)
    shared: int = 0

    @contextmanager
    def of(self, own: SetReport) -> Iterator[None]:
        """What is wrong with one of them is kept for :meth:`add_up`: the others are looked at."""
        try:
            yield
        except DatasetError as error:
            own.error, own.hint = error.sentence, error.mend

    def add_up(self) -> None:
        """Make the sums, and the error if there is one."""
        self.skip_bad_rows = any(own.skip_bad_rows for own in self.sets)
        for name in ("rows", "empty", "problem_count", "longer", "dropped"):
            setattr(self, name, sum(getattr(own, name) for own in self.sets))
        self.duplicates = self.shared + sum(own.duplicates for own in self.sets)
        self.problems = [
            replace(problem, path=_of_set(own.path, problem.path))
            for own in self.sets
            for problem in own.problems
        ][:PROBLEMS_KEPT]
        self.used.files = [file for own in self.sets for file in own.used.files]
        self.shape = " + ".join(dict.fromkeys(own.shape for own in self.sets if own.shape)) or None
        self.max_length = max((own.max_length or 0 for own in self.sets), default=0) or None
        self.unit = self.sets[0].unit if self.sets else self.unit
        self.lengths = sum((own.lengths for own in self.sets), Counter())
        told = [own.chat_template for own in self.sets if own.chat_template is not None]
        self.chat_template = any(told) if told else None
        labels = [own.labels for own in self.sets if own.labels is not None]
        if labels:
            self.labels = (sum(good for good, _ in labels), sum(bad for _, bad in labels))
        self._say_once()
        wrong = [own for own in self.sets if own.error is not None]
        if wrong and self.error is None:
            others = ", ".join(own.path for own in wrong[1:])
            more = f" These cannot be used either: {others}." if others else ""
            self.error = f"Of data set {wrong[0].number}, {wrong[0].path}: {wrong[0].error}{more}"
            self.hint = _mend(wrong[0])

    def _say_once(self) -> None:
        """What goes for all of them is not to be read of each."""
        said = set(self.notes)
        for own in self.sets:
            own.notes = [note for note in own.notes if note not in said]
            said.update(own.notes)
            self.turn_end, own.turn_end = self.turn_end or own.turn_end, None
            own.labels = None

    @property
    def verdicts(self) -> list[Verdict]:
        """Those of the whole, then those of each set, by its name."""
        own = replace(self, problem_count=0, dropped=0, longer=0, duplicates=0, leaked=0, sets=[])
        said = [*self._across(), *super(MixReport, own).verdicts]
        for one in self.sets:
            said += [
                Verdict(kind=verdict.kind, sentence=f"{one.path}: {verdict.sentence}"[:1000])
                for verdict in one.verdicts
            ]
        return said

    def _across(self) -> Iterator[Verdict]:
        leaked = self.leaked - sum(one.leaked for one in self.sets)
        if leaked > 0:
            where = "of another set" if self.eval_set is None else "of a set, too"
            sentence = f"{row_count(leaked)} that evaluate are in the train split {where}"
            yield Verdict(kind=VerdictKind.DATA, sentence=sentence)
        if self.shared:
            sentence = f"{row_count(self.shared)} repeat a row of an earlier set"
            yield Verdict(kind=VerdictKind.DATA, sentence=sentence)

    def as_json(self) -> dict[str, Any]:
        """As of one data set, with the sums, and each set's own."""
        return {**super().as_json(), "sets": [own.as_json() for own in self.sets]}

    def lines(self) -> Iterator[str]:
        """For people: each set by itself, then the whole."""
        splits = ", ".join(f"{name} {rows:,}" for name, rows in self.splits.items())
        yield f"Data sets  {len(self.sets)}, mixed by the seed {self.seed}: {splits or 'no rows'}"
        for own in self.sets:
            yield from own.nested(f"Set {own.number}", own.summary)
            if own.error is not None:
                yield printable(f"  Not usable: {own.error}")
        if self.tokens is not None:
            trained = self.trained_tokens or 0
            yield f"Tokens     {self.tokens:,}, of which {trained:,} are trained on"
        if self.labels is not None:
            yield f"Labels     {row_count(self.labels[0])} are good, {self.labels[1]:,} bad"
        for note in self.notes:
            yield f"Note: {note}"
        if self.eval_set is not None:
            yield from self.eval_set.nested("Eval set")
        for warning in self.warnings:
            yield printable(f"Warning: {warning}")
        yield self.verdict


def _of_set(path: str, file: str) -> str:
    return path if path.endswith(file) else f"{path}: {file}"


def _mend(own: SetReport) -> str:
    """With the fields of that set for those of ``config.data``."""
    hint = own.hint.replace("Check dataset_path", f"Check datasets.{own.number - 1}.path")
    for name in ("columns", "subset", "split"):
        hint = hint.replace(f"config.data.{name}", f"datasets.{own.number - 1}.{name}")
    return hint
