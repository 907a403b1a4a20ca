"""Tests of the peers' table: medians, ratios of pairs, words, and its place in the document."""

from __future__ import annotations

import pytest

from benchmarks.peers import table
from benchmarks.peers.rounds import Results
from tests.support.paths import REPOSITORY


@pytest.fixture
def results() -> Results:
    found = Results([table.OURS, "Celery", "Ray"])
    for ours, theirs in ((0.2, 0.4), (0.3, 0.9), (0.5, 0.5)):
        found.add(table.OURS, {"start_first": ours, "cancel": 0.1})
        found.add("Celery", {"start_first": theirs, "cancel": "4 processes left after 10 s"})
    found.reasons["Ray"] = "ModuleNotFoundError: No module named 'ray'"
    return found


def test_a_figure_is_a_median_and_the_median_of_the_pairs_ratios(results: Results) -> None:
    rows = table.cells(results)
    assert rows[0] == ["", table.OURS, "Celery", "Ray"]
    assert rows[1][1:] == ["0.3 s", "0.5 s (2x)", "not measured"]


def test_words_have_no_ratio(results: Results) -> None:
    row = next(row for row in table.cells(results) if row[0].startswith("forced cancel"))
    assert row[1:3] == ["0.1 s", "4 processes left after 10 s"]
    assert table.times_ours(["left", 1.0], [1.0, 1.0]) is None
    assert table.times_ours([1.0], [1.0, 1.0]) is None


def test_the_most_frequent_words_and_how_often() -> None:
    assert table.cell(["lost", "runs again", "lost"], [], "") == "lost (2 of 3)"
    assert table.cell([1.0, "failed: it died"], [], "s") == "failed: it died (1 of 2)"


def test_a_system_that_is_not_there_is_a_note(results: Results) -> None:
    said = "\n".join(table.notes(results, 3, 5))
    assert "Ray was not measured: ModuleNotFoundError: No module named 'ray'" in said
    assert table.as_json(results)["Ray"] == {
        "reason": "ModuleNotFoundError: No module named 'ray'",
        "figures": {},
    }


def test_json_has_every_figure(results: Results) -> None:
    start = table.as_json(results)["Celery"]["figures"]["start_first"]
    assert (start["values"], start["times_ours"]) == ([0.4, 0.9, 0.5], 2.0)


def test_markdown_goes_between_the_marks_and_again(results: Results) -> None:
    text = table.as_markdown(table.cells(results), ["A note."])
    assert {line.count("|") for line in text.splitlines() if "|" in line} == {5}
    document = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    once = table.between_marks(document, text)
    assert once.startswith(f"before\n{table.BEGIN}\n\n| ")
    assert once.endswith(f"A note.\n\n{table.END}\nafter\n")
    assert "old" not in once
    assert table.between_marks(once, text) == once


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(AssertionError, match="has no line"):
        table.between_marks("nothing", "text")


def test_the_comparison_has_the_marks() -> None:
    document = (REPOSITORY / "docs/comparison.md").read_text()
    assert "text" in table.between_marks(document, "text")
