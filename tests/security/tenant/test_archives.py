"""Archives with names that no file can have: an error of the data set, without our paths."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tasks.datasets.parts import open_parts
from tasks.errors import DatasetError


@pytest.mark.parametrize(
    "names",
    [
        ["a" * 300 + ".jsonl"],
        ["/".join(["a" * 200] * 30) + ".jsonl"],
        ["a.jsonl", "a.jsonl/b.jsonl"],
        ["a/b.jsonl", "a"],
        ["a\\b.jsonl"],
        ["../a.jsonl"],
        ["/a.jsonl"],
    ],
)
def test_an_odd_name_is_damage(names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, '{"text": "a"}\n')
    with pytest.raises(DatasetError) as caught:
        open_parts(path, tmp_path / "cache")
    assert str(tmp_path) not in str(caught.value)
