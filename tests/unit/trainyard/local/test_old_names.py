"""Old names of settings are said, and common ones only if somebody counts on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainyard.local.old_names import unread_names


@pytest.mark.parametrize(
    ("environment", "env_file", "named"),
    [
        ({"PORT": "8080", "HOST": "box", "API_KEY": "k"}, "", []),
        ({"PORT": "8080", "MODELS_DIR": "/m"}, "", ["MODELS_DIR", "PORT"]),
        ({"MODELS_DIR": "/m", "MODEL_ROOTS": "/m"}, "", []),
        ({"MAX_CONCURRENT_JOBS": ""}, "", []),
        ({}, "PORT=8080\nAPI_KEY=k\n", ["PORT", "API_KEY"]),
        ({}, "MODELS_DIR=./models\nDATASETS_DIR=./datasets\nBRIDGE_PORT=1\n", []),
        ({"DATASETS_DIR": "/d"}, "DATASET_ROOTS=/d\n", []),
    ],
)
def test_names(
    tmp_path: Path, environment: dict[str, str], env_file: str, named: list[str]
) -> None:
    path = tmp_path / ".env"
    path.write_text(env_file)
    assert [sentence.split()[0] for sentence in unread_names(environment, path)] == named


def test_a_sentence_says_the_right_name_and_no_value(tmp_path: Path) -> None:
    (sentence,) = unread_names({"MAX_CONCURRENT_JOBS": "77"}, tmp_path / ".env")
    assert "SLOTS" in sentence
    assert "77" not in sentence
