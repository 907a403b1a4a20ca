"""Report on a data set: what its check found, for people and for programs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from tasks.datasets.readers.problems import PROBLEMS_KEPT, ReadProblem
from tasks.datasets.used import Used
from trainyard.contract.verdicts import Verdict, VerdictKind

USABLE, USABLE_WITH_WARNINGS, NOT_USABLE = 0, 1, 2
"""Exit codes."""

TRAINED, END_TRAINED = "⟦", "⟧"
_BAR = 40
_EXAMPLE_CHARACTERS = 4000


Segments: TypeAlias = tuple[tuple[str, bool], ...]
"""Runs of text, and whether each is trained on."""


@dataclass(frozen=True)
class Example:
    """One row as the model will see it; a preference also with the ``rejected`` answer."""

    row: int | None
    segments: Segments
    rejected: Segments = ()

    def marked(self) -> list[str]:
        """The texts with what is trained on between ⟦ and ⟧."""
        return [
            "".join(f"{TRAINED}{text}{END_TRAINED}" if on else text for text, on in segments)
            for segments in (self.segments, self.rejected)
            if segments
        ]

    def as_json(self) -> dict[str, Any]:
        """For programs; ``rejected`` is empty but for preferences."""
        return {
            "row": self.row,
            "text": "".join(text for text, _ in self.segments),
            "segments": [{"text": text, "trained": on} for text, on in self.segments],
            "rejected": [{"text": text, "trained": on} for text, on in self.rejected],
        }


@dataclass
class Report:
    """What was found; it is filled in as far as the check comes.

    ``chat_template``: whether rows go through it; None if that is not known yet.
    ``lengths`` counts rows by their length in ``unit``s, uncut. ``longer`` rows have more tokens
    than ``max_length``; ``dropped`` ones are left without a token to train on. ``problem_count``
    counts the rows that cannot be used, of which ``problems`` names the first. ``leaked`` rows
    evaluate what is trained on. ``labels``: training rows that are good, and bad. ``error`` and
    ``hint`` say why the whole of it cannot be used. ``eval_set``: of a data set that only
    evaluates.
    """

    path: str
    method: str
    rows: int = 0
    shape: str | None = None
    chat_template: bool | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    empty: int = 0
    duplicates: int = 0
    problem_count: int = 0
    problems: list[ReadProblem] = field(default_factory=list)
    skip_bad_rows: bool = False
    unit: str = "tokens"
    lengths: Counter[int] = field(default_factory=Counter)
    max_length: int | None = None
    longer: int = 0
    dropped: int = 0
    tokens: int | None = None
    trained_tokens: int | None = None
    leaked: int = 0
    used: Used = field(default_factory=Used)
    left_out: Counter[str] = field(default_factory=Counter)
    turn_end: tuple[VerdictKind, str] | None = None
    labels: tuple[int, int] | None = None
    example: Example | None = None
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    hint: str = ""
    eval_set: Report | None = None

    def add_problems(self, count: int, *problems: Iterable[ReadProblem]) -> None:
        """Count rows that cannot be used, and name the first of them."""
        self.problem_count += count
        for problem in itertools.chain(*problems):
            if len(self.problems) < PROBLEMS_KEPT:
                self.problems.append(problem)

    def refuse_bad_rows(self, shape: str) -> None:
        """Make rows that cannot be used an error, unless they are left out."""
        if self.problem_count and not self.skip_bad_rows:
            self.error = (
                f"{self.problem_count:,} of {row_count(self.rows)} of the data set cannot be "
                f"trained on; the first is {self.problems[0]}."
            )
            self.hint = (
                "Mend or remove these rows, or leave them out with config.data.skip_bad_rows. The "
                f"rows were read as {shape}."
            )

    @property
    def verdicts(self) -> list[Verdict]:
        """What does not keep the data set from being used, but is to be known."""
        said = list[tuple[VerdictKind, str]]()
        of_rows, limit = f"of {row_count(self.rows)}", f"max_length ({self.max_length} tokens)"
        if self.problem_count and self.skip_bad_rows:
            bad = f"{self.problem_count:,} {of_rows} cannot be used and are left out"
            said.append((VerdictKind.ROWS_DROPPED, bad))
        if self.dropped:
            dropped = f"{self.dropped:,} {of_rows} dropped: {limit} leaves no token to train on"
            said.append((VerdictKind.ROWS_DROPPED, dropped))
        if (cut := self.longer - self.dropped) > 0:
            said.append((VerdictKind.ROWS_CUT, f"{cut:,} {of_rows} cut off at {limit}"))
        data = []
        if self.duplicates:
            data.append(f"{row_count(self.duplicates)} repeat an earlier row")
        if self.leaked:
            data.append(f"{row_count(self.leaked)} of the eval split are in the train split, too")
        data += self.used.warnings
        if self.labels is not None and 0 in self.labels:
            one, other = ("good", "bad") if self.labels[0] else ("bad", "good")
            data.append(f"every row is {one}: nothing says what is {other}")
        for what, rows in sorted(self.left_out.items()):
            data.append(f"the chat template leaves out {what} in {row_count(rows)}")
        said += [(VerdictKind.DATA, sentence) for sentence in data]
        if self.turn_end is not None:
            said.append(self.turn_end)
        if self.eval_set is not None:
            said += [(one.kind, f"eval set: {one.sentence}") for one in self.eval_set.verdicts]
        return [Verdict(kind=kind, sentence=sentence[:1000]) for kind, sentence in said]

    @property
    def warnings(self) -> list[str]:
        """The verdicts' sentences."""
        return [verdict.sentence for verdict in self.verdicts]

    @property
    def exit_code(self) -> int:
        """0 usable, 1 usable with warnings, 2 not usable."""
        if self.error is not None:
            return NOT_USABLE
        return USABLE_WITH_WARNINGS if self.warnings else USABLE

    def as_json(self) -> dict[str, Any]:
        """For programs; every key is always there."""
        total = sum(self.lengths.values())
        return {
            "path": self.path,
            "method": self.method,
            "usable": self.error is None,
            "rows": self.rows,
            "shape": self.shape,
            "chat_template": self.chat_template,
            "columns": dict(self.columns),
            "splits": self.splits,
            **self.used.as_json(),
            "empty": self.empty,
            "duplicates": self.duplicates,
            "leaked": self.leaked,
            "problem_count": self.problem_count,
            "problems": [_problem(problem) for problem in self.problems],
            "lengths": {
                "unit": self.unit,
                "longest": max(self.lengths) if self.lengths and self.tokens is not None else None,
                "histogram": [
                    {"from": low, "to": high, "rows": rows}
                    for low, high, rows in histogram(self.lengths)
                ],
            },
            "max_length": self.max_length,
            "cut_off_rows": self.longer,
            "cut_off_share": round(self.longer / total, 6) if total and self.max_length else None,
            "dropped": self.dropped,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "labels": dict(zip(("good", "bad"), self.labels, strict=True)) if self.labels else None,
            "example": self.example.as_json() if self.example else None,
            "warnings": self.warnings,
            "notes": self.notes,
            "eval_set": self.eval_set.as_json() if self.eval_set else None,
            "sets": [],
            "error": self.error,
            "hint": self.hint,
        }

    def lines(self) -> Iterator[str]:
        """For people; the problems and the verdict come last."""
        if self.shape is not None:
            roles = ", ".join(f"{role} = {column}" for role, column in self.columns.items())
            usable = f"; {self.rows - bad:,} can be used" if (bad := self.problem_count) else ""
            yield f"Rows       {self.rows:,}, read as {self.shape} ({roles}){usable}"
            splits = ", ".join(f"{name} {rows:,}" for name, rows in self.splits.items())
            yield f"Splits     {splits or 'none'}"
            yield f"Empty      {row_count(self.empty)}; {self.duplicates:,} repeat an earlier one"
        for line in self.used.lines(self.rows):
            yield printable(line)
        yield from self._length_lines()
        if self.trained_tokens is not None and self.tokens is not None:
            yield f"Tokens     {self.tokens:,}, of which {self.trained_tokens:,} are trained on"
        if self.labels is not None:
            good, bad = self.labels
            yield f"Labels     {row_count(good)} are good, {bad:,} bad"
        yield from self._example_lines()
        for note in self.notes:
            yield f"Note: {note}"
        if self.eval_set is not None:
            yield from self.eval_set.nested("Eval set")
        if self.problem_count:
            more = self.problem_count > len(self.problems)
            first = f", the first {len(self.problems)}" if more else ""
            yield f"{row_count(self.problem_count)} with problems{first}:"
            for problem in self.problems:
                yield printable(f"  {problem}. {problem.fix}")
        for warning in self.warnings:
            yield printable(f"Warning: {warning}")
        yield self.verdict

    @property
    def verdict(self) -> str:
        """One line: usable, or why not and what to do."""
        if self.error is not None:
            return printable(f"Not usable for {self.method}: {self.error} {self.hint}".rstrip())
        with_warnings = " with warnings" if self.warnings else ""
        return f"Usable for {self.method}{with_warnings}"

    def nested(self, title: str, said: str = "") -> Iterator[str]:
        """Its lines within another report, which has its warnings and its verdict."""
        yield f"{title:<11}{printable(said or self.path)}"
        for line in self.lines():
            if not line.startswith("Warning: ") and line != self.verdict:
                yield f"  {line}"

    def _length_lines(self) -> Iterator[str]:
        rows = sum(self.lengths.values())
        if not rows:
            return
        yield f"Length in {self.unit}:"
        bins = histogram(self.lengths)
        most = max(count for _, _, count in bins)
        for low, high, count in bins:
            bar = "█" * max(round(_BAR * count / most), 1 if count else 0)
            yield f"  {f'{low:,}-{high:,}':>17} {count:>9,} {bar}"
        if self.max_length is not None:
            share = self.longer / rows
            yield f"Cut off    {share:.1%} of the rows at max_length {self.max_length:,}"

    def _example_lines(self) -> Iterator[str]:
        if self.example is None:
            return
        seen = " as the model sees it" if self.tokens is not None else ""
        yield f"Row {self.example.row}{seen}; trained on: {TRAINED}…{END_TRAINED}"
        for text in self.example.marked():
            for line in text[:_EXAMPLE_CHARACTERS].split("\n"):
                yield f"  | {printable(line)}"
            if len(text) > _EXAMPLE_CHARACTERS:
                yield f"  | … ({len(text) - _EXAMPLE_CHARACTERS:,} more characters)"


def histogram(lengths: Mapping[int, int]) -> list[tuple[int, int, int]]:
    """(from, to, rows) by powers of two, without gaps between the first and the last."""
    bins = Counter[int]()
    for length, rows in lengths.items():
        bins[max(length - 1, 0).bit_length()] += rows
    if not bins:
        return []
    return [
        ((1 << power - 1) + 1 if power else 0, 1 << power, bins[power])
        for power in range(min(bins), max(bins) + 1)
    ]


def _problem(problem: ReadProblem) -> dict[str, Any]:
    found = asdict(problem)
    return {"file": found.pop("path"), **found}


def printable(text: str) -> str:
    """``text`` without what would steer a terminal."""
    return "".join(
        char if char.isprintable() or char == "\t" else repr(char)[1:-1] for char in text
    )


def row_count(count: int) -> str:
    """So many rows, in words."""
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
