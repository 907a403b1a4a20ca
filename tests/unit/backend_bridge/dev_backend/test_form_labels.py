"""What the page's form calls a request's fields, against the schema and the table of settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tasks.arguments.table import TABLE
from tests.support.paths import REPOSITORY
from trainyard.contract.request import StartRequest

TEXT = (REPOSITORY / "backend_bridge/dev_backend/static/labels.js").read_text()


def block(name: str) -> str:
    found = re.search(rf"export const {name} = (?:new Set\()?(.*?)\n[}}\]]\)?;", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


LABELS = dict(re.findall(r'^  "?([\w.]+)"?: "(.*)",$', block("LABELS"), re.MULTILINE))
NOT_ASKED = set(re.findall(r'"([\w.]+)"', block("NOT_ASKED")))


def paths(part: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[str]:
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    real = [one for one in part.get("anyOf", []) if one.get("type") != "null"]
    if len(real) == 1:
        yield from paths(real[0], schema, path)
    elif "properties" in part:
        for name, inner in part["properties"].items():
            yield from paths(inner, schema, f"{path}.{name}".lstrip("."))
    else:
        yield path


def test_every_field_has_a_label_or_is_not_asked() -> None:
    schema = StartRequest.model_json_schema()
    found = set(paths(schema, schema))
    assert found == LABELS.keys() | NOT_ASKED, "a new field needs its words in labels.js"
    assert not LABELS.keys() & NOT_ASKED


def test_what_a_training_ignores_is_not_asked() -> None:
    ignored = {f"config.{setting.path}" for setting in TABLE if setting.ignored}
    assert ignored <= NOT_ASKED


def test_labels_are_words() -> None:
    assert not [label for label in LABELS.values() if "_" in label or not label[0].isupper()]
    within: dict[str, list[str]] = {}
    for path, label in LABELS.items():
        within.setdefault(path.rpartition(".")[0], []).append(label)
    assert [labels for labels in within.values() if len(set(labels)) < len(labels)] == [], "twice"
