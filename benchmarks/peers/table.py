"""Table of the peers: for the terminal, as JSON, and between two marks of a document."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks.peers.rounds import Results
from benchmarks.peers.scenarios import MEASURES, Figure

BEGIN, END = "<!-- peers: measured -->", "<!-- peers: end -->"
"""What stands between them is the command's."""
OURS = "Trainyard"


def cell(values: Sequence[Figure], ours: Sequence[Figure], unit: str) -> str:
    """One system's figure: a median, and how many times ours it is; or words, the most frequent."""
    if not values:
        return "not measured"
    words = Counter(value for value in values if isinstance(value, str))
    if words:
        word, count = words.most_common(1)[0]
        return word if count == len(values) else f"{word} ({count} of {len(values)})"
    text = f"{statistics.median(_numbers(values)):.3g} {unit}"
    ratio = times_ours(values, ours)
    return text if ratio is None or values is ours else f"{text} ({ratio:.3g}x)"


def times_ours(values: Sequence[Figure], ours: Sequence[Figure]) -> float | None:
    """Median of the pairs' ratios; None where a pair has words."""
    pairs = [
        (a, b)
        for a, b in zip(values, ours, strict=False)
        if not isinstance(a, str) and not isinstance(b, str)
    ]
    if not pairs or len(pairs) < max(len(values), len(ours)):
        return None
    return statistics.median(a / b for a, b in pairs)


def cells(results: Results) -> list[list[str]]:
    """The table: a head, and a row for each measure."""
    names = list(results.values)
    rows = [["", *names]]
    for measure, (what, unit) in MEASURES.items():
        found = {name: results.values[name].get(measure, []) for name in names}
        ours = found.get(OURS, [])
        rows.append([what, *(cell(values, ours, unit) for values in found.values())])
    return rows


def notes(results: Results, runs: int, lease_s: int) -> list[str]:
    """What a reader must know of the table."""
    return [
        f"Medians of {runs} round{'s' * (runs > 1)}, in each of which every system has its turn on "
        "fresh starts; (..x) is the median of the rounds' ratios, theirs to ours.",
        "A Llama of 5M parameters, sft, 60 steps, one torch thread. A dead worker is started again "
        "after 1 s (Ray's raylet is not: its cluster ends with it). Ours has "
        f"LEASE_SECONDS={lease_s} (30 by default): what a job waits for whose worker was killed.",
        *(f"{name} was not measured: {reason}" for name, reason in results.reasons.items()),
    ]


def for_terminal(rows: list[list[str]]) -> Table:
    """The same in columns."""
    made = Table(*rows[0], show_lines=True)
    for row in rows[1:]:
        made.add_row(*row)
    return made


def as_markdown(rows: list[list[str]], said: Sequence[str]) -> str:
    """The same for a document."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    table = "\n".join(f"| {' | '.join(c.replace('|', '/') for c in line)} |" for line in lines)
    return table + "\n\n" + "\n".join(said) + "\n"


def between_marks(document: str, text: str) -> str:
    """``document`` with ``text`` between the marks."""
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    assert begin, f"the document has no line {BEGIN}"
    assert end, f"the document has no line {END} after {BEGIN}"
    return f"{head}{BEGIN}\n\n{text.strip()}\n\n{END}{tail}"


def as_json(results: Results) -> dict[str, Any]:
    """Every figure of every round, and the ratios."""
    ours = results.values.get(OURS, {})
    return {
        name: {
            "reason": results.reasons.get(name),
            "figures": {
                measure: {
                    "what": MEASURES[measure][0],
                    "unit": MEASURES[measure][1] or None,
                    "values": values,
                    "times_ours": times_ours(values, ours.get(measure, [])),
                }
                for measure, values in measures.items()
            },
        }
        for name, measures in results.values.items()
    }


def _numbers(values: Sequence[Figure]) -> list[float]:
    return [value for value in values if not isinstance(value, str)]
