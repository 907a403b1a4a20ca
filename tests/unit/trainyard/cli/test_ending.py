"""Ending of a job: what lies where, and how large each part is."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainyard.cli.ending import ending
from trainyard.settings import read_settings


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({"adapter.safetensors": 3_000_000}, "(3.0 MB)"),
        (
            {"adapter.safetensors": 3_000_000, "merged/model.safetensors": 7_000_000},
            "(adapter 3.0 MB, merged 7.0 MB)",
        ),
    ],
)
def test_an_adapter_and_its_merged_copy_have_a_size_each(
    tmp_path: Path, files: dict[str, int], size: str
) -> None:
    for name, length in files.items():
        path = tmp_path / "jobs" / "j" / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(length))
    job = {"job_id": "j", "status": "completed", "result": {"model_dir": "model"}}
    said = "\n".join(ending(job, read_settings(trainyard_home=tmp_path)))
    assert size in said
