"""Results for others: what is refused before anything is written, and what a push says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from tests.support.command_line import trainyard
from tests.support.fake_bridge import FakeBridge


@pytest.fixture
def model(bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The result of the job j."""
    folder = tmp_path / "jobs" / "j" / "model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"0" * 1000)
    (folder / "README.md").write_text(f"trained on {tmp_path}/data.jsonl")
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    done = {"status": "completed", "result": {"model_dir": "model"}}
    bridge.answers["GET", "/api/training/status/j"] = 200, done
    bridge.answers["GET", "/api/training/status/k"] = 200, {"status": "queued", "result": None}
    bridge.answers["GET", "/api/training/status/l"] = 200, done
    return folder


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("merge", "j"), "is no adapter"),
        (("merge", "k"), "has no trained model: it is queued"),
        (("export", "l", "--to", "x"), "is not below TRAINYARD_HOME, which is /"),
        (("export", "j", "--to", "/"), "/ is there already"),
        (("export", "j", "--to", "x", "--system", "s"), "give --ollama too"),
        (("push", "j", "me/mine", "--yes"), "HF_TOKEN is not set"),
    ],
)
def test_what_cannot_be_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    done = trainyard(*arguments)
    assert done.exit_code != 0
    assert sentence in done.stderr


def test_who_merges_twice_is_told_what_there_is(model: Path) -> None:
    (model / "adapter_config.json").touch()
    (model / "merged").mkdir()
    done = trainyard("merge", "j")
    assert done.exit_code == 1
    said = f"trainyard: j is merged already: {model}/merged. Remove that folder to merge it anew.\n"
    assert done.stderr == said


class Hub:
    """In the hub's place; ``done``: what was asked of it."""

    done: list[tuple[str, dict[str, Any]]]

    def __init__(self, token: str) -> None:
        assert token == "hf_secret"

    def create_repo(self, name: str, **how: Any) -> None:
        Hub.done.append((name, how))

    def upload_folder(self, **what: Any) -> None:
        Hub.done.append(("upload", what))


def test_a_push_is_dry_until_it_is_meant(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub.done = []
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    dry = trainyard("push", "j", "me/mine", "--public")
    assert dry.exit_code == 0
    assert Hub.done == []
    assert "me/mine (public: everybody can read it) gets" in dry.stdout
    assert "model.safetensors" in dry.stdout
    assert "note: README.md names" in dry.stderr
    assert "Nothing was sent" in dry.stderr
    assert trainyard("push", "j", "me/mine", "--yes").exit_code == 0
    (repository, how), (_, what) = Hub.done
    assert (repository, how["private"]) == ("me/mine", True)
    assert what["allow_patterns"] == ["README.md", "model.safetensors"]
