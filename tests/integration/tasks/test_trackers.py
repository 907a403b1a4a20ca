"""Weights & Biases and MLflow: recorded where they are installed, named as ignored where not.

The tests of the real packages skip where they are not installed; a double stands in for one.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.support.training import Preloaded, Run, run_training, write_jsonl
from trainyard.contract.events import Metric

KEY = "0123456789abcdef0123456789abcdef01234567"
DOUBLES = {
    "wandb": """
import json, os
run = None
log_file = lambda: open(os.path.join(os.environ["WANDB_DIR"], "said.jsonl"), "a")
def say(*what):
    with log_file() as file:
        print(json.dumps(what), file=file)
class Run:
    def __init__(self): self.summary = {}
    def _label(self, **_): pass
class Config(dict):
    def update(self, *_, **__): pass
config = Config()
def init(project, name):
    global run
    run = Run()
    say("init", name, os.environ.get("WANDB_MODE", ""), os.environ["WANDB_CONSOLE"])
def log(values):
    if os.environ.get("WANDB_FAILS"): raise OSError("the server is away")
    say("log", sorted(values))
def finish(exit_code): say("finish", exit_code)
""",
    "wandb/sdk/lib/config_util": "class ConfigError(Exception): pass",
    "wandb/sdk/lib": "",
    "wandb/sdk": "",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    rows = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}."} for n in range(8)]
    write_jsonl(home / "datasets" / "sums.jsonl", rows)
    return home


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def is_installed(tracker: str) -> bool:
    found = importlib.util.find_spec(tracker)
    return found is not None and found.origin is not None


def train(
    home: Path, models: Path, name: str, tracker: str, preloaded: Preloaded | None = None
) -> Run:
    settings = {"max_steps": 2, "batch_size": 4, "logging_steps": 1, "report_to": [tracker]}
    asked: dict[str, Any] = {
        "execution_id": name,
        "dataset_path": "sums.jsonl",
        "config": {"model": {"name": "tiny"}, "training": settings},
    }
    run = run_training(home, asked, models=models, preloaded=preloaded)
    assert run.outcome.outcome == "completed", run.log
    assert [metric.step for metric in run.of(Metric)] == [1, 2]
    return run


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package wandb that writes down what it is told."""
    for name, text in DOUBLES.items():
        folder = tmp_path / "packages" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"), prepend=":")


def said(run: Run) -> list[str]:
    return (run.job_dir / "said.jsonl").read_text().splitlines()


@pytest.mark.slow
@pytest.mark.usefixtures("double")
def test_without_a_key_the_run_is_recorded_in_the_jobs_folder(home: Path, models: Path) -> None:
    run = train(home, models, "offline", "wandb")
    first, *logged, last = said(run)
    assert first == '["init", "offline", "offline", "off"]'
    assert sum("train/loss" in line for line in logged) == 2
    assert last == '["finish", 0]'
    assert "'wandb sync' sends it" in run.log


@pytest.mark.slow
@pytest.mark.usefixtures("double")
def test_what_a_tracker_fails_with_is_said_once_and_no_key_is(
    home: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_FAILS", "1")
    run = train(home, models, "away", "wandb")
    assert said(run)[0] == '["init", "away", "", "off"]'
    assert run.log.count("WandbCallback failed and hears no more; the training goes on") == 1
    assert "the server is away" in run.log
    assert KEY not in run.log


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_what_is_not_installed_is_named_and_the_training_goes_on(
    tracker: str, home: Path, models: Path, preloaded: Preloaded
) -> None:
    if is_installed(tracker):
        pytest.skip(f"{tracker} is installed")
    run = train(home, models, f"no-{tracker}", tracker, preloaded)
    assert f"Ignored: config.training.report_to: {tracker} is not installed" in run.log


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_the_real_package_records_in_the_jobs_folder(
    tracker: str, home: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_installed(tracker):
        pytest.skip(f"{tracker} is not installed")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = train(home, models, f"real-{tracker}", tracker)
    assert "hears no more" not in run.log
    if tracker == "wandb":
        [recorded] = run.job_dir.glob("wandb/offline-run-*/*.wandb")
        assert b"train/loss" in recorded.read_bytes()
    else:
        [losses] = run.job_dir.glob("mlruns/*/*/metrics/loss")
        assert len(losses.read_text().splitlines()) == 2
        [meta] = run.job_dir.glob("mlruns/*/*/meta.yaml")
        assert "end_time: null" not in meta.read_text()
    files = [path for path in run.job_dir.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    assert KEY not in run.log
