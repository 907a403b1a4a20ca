"""Rows through the whole pipe to what a training learns, with tokenizers of known families."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tasks.datasets.read_data import read_data
from tasks.datasets.report import Report
from tasks.datasets.sources.locate import DownloadLimits, locate_dataset
from tasks.datasets.training_data import tokenise_data
from tasks.errors import DatasetError
from tests.support.tokenizers import tokenizer_of
from trainyard.contract.config import JobConfig

family_tokenizer = cache(tokenizer_of)


def learned(
    folder: Path,
    rows: Any,
    family: str = "chatml",
    method: str = "sft",
    training: dict[str, Any] | None = None,
    **data: Any,
) -> Report:
    """The report of a check of ``rows`` (a list, or the text of a CSV file)."""
    path = folder / ("rows.csv" if isinstance(rows, str) else "rows.jsonl")
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    settings = {"method": method, **(training or {})}
    config = JobConfig.model_validate({"model": {"name": "-"}, "training": settings, "data": data})
    report, cache_dir = Report(path.name, method), folder / "cache"
    try:
        found = locate_dataset(str(path), None, ["/"], cache_dir)
        read = read_data(found, config, cache_dir, report, DownloadLimits())
        tokenise_data(
            read,
            config,
            family_tokenizer(family),
            report,
            max_length=512,
            add_eos=True,
            cache_dir=cache_dir,
        )
    except DatasetError as error:
        report.error, report.hint = error.sentence, error.mend
    return report


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def chat(*messages: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"messages": list(messages), **more}]


def part(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


ASKED, IS_4 = user("What is 2+2?"), answer("It is 4.")
THINKS = "<think>\nTwo and two.\n</think>\n\nIt is 4."
WEATHER = user("Weather in Paris?")
AS_TEXT = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
CALLS = answer(None, tool_calls=[{"id": "call_1", "type": "function", "function": AS_TEXT}])
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "20"}
WARM = answer("It is warm.")
PIRATE = {"role": "system", "content": "Answer like a pirate."}
