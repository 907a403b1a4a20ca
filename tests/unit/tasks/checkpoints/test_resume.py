"""Which checkpoint an attempt starts from."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.checkpoints.folder import PARTIAL_DIR_NAME, last_good, list_checkpoints, prune, seal
from tasks.checkpoints.folder import publish as publish_checkpoint
from tasks.checkpoints.resume import Start, check_fits, choose_start, commit_start, fingerprint
from tasks.errors import ConfigurationError
from trainyard.contract.checkpoint_manifest import MANIFEST_NAME, Manifest
from trainyard.contract.config import JobConfig
from trainyard.contract.events import TrainingSpec


def write(job_dir: Path, step: int, attempt: int = 1, job_id: str = "j", text: str = "") -> Path:
    partial = job_dir / "checkpoints" / PARTIAL_DIR_NAME / f"checkpoint-{step}"
    partial.mkdir(parents=True)
    (partial / "model.safetensors").write_text(f"step {step} {text}")
    seal(partial, Manifest(job_id=job_id, attempt=attempt, step=step, epoch=0.5))
    return publish_checkpoint(partial, job_dir / "checkpoints")


def spec(job_dir: Path, attempt: int = 9, **more: Any) -> TrainingSpec:
    fields = {"job_id": "j", "attempt": attempt, "slot": "s", "job_dir": str(job_dir)}
    roots: dict[str, Any] = {"cache_dir": "", "dataset_roots": [], "model_roots": []}
    return TrainingSpec(**{**fields, **roots, **more})


def chosen(job_dir: Path, **more: Any) -> str | None:
    found = choose_start(spec(job_dir, **more))
    if found is None:
        return None
    commit_start(spec(job_dir, **more), found)
    return found.relative_path


def test_one_that_turns_out_not_to_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path, 3)
    write(tmp_path, 6)
    assert choose_start(spec(tmp_path, resume_from="checkpoints/checkpoint-3")) is not None
    assert chosen(tmp_path, attempt=10) == "checkpoints/checkpoint-6"


def test_the_last_good_one_is_chosen_where_none_is_named(tmp_path: Path) -> None:
    assert chosen(tmp_path) is None
    write(tmp_path, 3)
    write(tmp_path, 12)
    assert chosen(tmp_path) == "checkpoints/checkpoint-12"
    assert chosen(tmp_path, resume_from="checkpoints/checkpoint-3") == "checkpoints/checkpoint-3"


def test_a_choice_that_cannot_be_read_is_refused_until_it_is_made_again(tmp_path: Path) -> None:
    for step in (3, 6):
        write(tmp_path, step)
    assert chosen(tmp_path, resume_from="checkpoints/checkpoint-3") == "checkpoints/checkpoint-3"
    note = tmp_path / "checkpoints" / "branch.json"
    note.write_text(note.read_text().replace("checkpoint-3", "checkpoint-6"))
    with pytest.raises(ConfigurationError, match=r"branch\.json is unreadable") as refused:
        chosen(tmp_path)
    assert "checkpoints/checkpoint-3, checkpoints/checkpoint-6" in str(refused.value.mend)
    assert chosen(tmp_path, resume_from="checkpoints/checkpoint-3") == "checkpoints/checkpoint-3"
    assert chosen(tmp_path) == "checkpoints/checkpoint-3"


def test_records_of_an_older_version_have_no_hash(tmp_path: Path) -> None:
    folder = write(tmp_path, 3)
    manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
    del manifest["sha256"]
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    (folder.parent / "branch.json").write_text('{"attempt": 1, "checkpoint": null}')
    assert chosen(tmp_path) == "checkpoints/checkpoint-3"


def test_a_named_one_leaves_the_later_ones_behind_for_good(tmp_path: Path) -> None:
    for step in (3, 6, 9):
        write(tmp_path, step, attempt=1)
    chosen(tmp_path, attempt=2, resume_from="checkpoints/checkpoint-3")
    assert chosen(tmp_path, attempt=3) == "checkpoints/checkpoint-3"
    write(tmp_path, 6, attempt=3)
    assert chosen(tmp_path, attempt=4) == "checkpoints/checkpoint-6"
    prune(tmp_path / "checkpoints", keep=2, best=None)
    left = [path.name for path in list_checkpoints(tmp_path / "checkpoints")]
    assert left == ["checkpoint-3", "checkpoint-6"]


def test_from_the_start_means_no_older_checkpoint_is_used_again(tmp_path: Path) -> None:
    write(tmp_path, 6, attempt=1)
    assert chosen(tmp_path, attempt=2, from_start=True) is None
    assert chosen(tmp_path, attempt=3) is None
    write(tmp_path, 2, attempt=3)
    assert chosen(tmp_path, attempt=4) == "checkpoints/checkpoint-2"


def test_a_checkpoint_of_the_same_step_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path, 6, attempt=1, text="old")
    folder = write(tmp_path, 6, attempt=2, text="new")
    assert (folder / "model.safetensors").read_text() == "step 6 new"
    found = last_good(tmp_path / "checkpoints")
    assert found is not None
    assert found[1].attempt == 2
    assert not list((tmp_path / "checkpoints" / PARTIAL_DIR_NAME).iterdir())


@pytest.mark.parametrize(
    "name",
    ["checkpoint-3", "../other/checkpoints/checkpoint-3", "/etc", "checkpoints/../..", "."],
)
def test_a_path_outside_of_the_jobs_checkpoints_is_refused(tmp_path: Path, name: str) -> None:
    job_dir = tmp_path / "job"
    write(job_dir, 3)
    write(tmp_path / "other", 3)
    with pytest.raises(ConfigurationError, match="own folder") as caught:
        chosen(job_dir, resume_from=name)
    assert "checkpoints/checkpoint-3" in caught.value.mend


def test_a_link_to_another_jobs_checkpoint_is_refused(tmp_path: Path) -> None:
    job_dir = tmp_path / "job"
    write(job_dir, 3)
    target = write(tmp_path / "other", 5)
    (job_dir / "checkpoints" / "checkpoint-5").symlink_to(target)
    with pytest.raises(ConfigurationError, match="own folder"):
        chosen(job_dir, resume_from="checkpoints/checkpoint-5")


def test_what_cannot_be_gone_on_from_is_refused_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, 3)
    write(tmp_path, 5, job_id="another")
    (write(tmp_path, 7) / "model.safetensors").write_text("step 8 ")
    for step, said in ((4, "no checkpoint"), (5, "another job, 'another'"), (7, "other contents")):
        with pytest.raises(ConfigurationError, match=said):
            chosen(tmp_path, resume_from=f"checkpoints/checkpoint-{step}")


def config(name: str = "m", **training: Any) -> JobConfig:
    return JobConfig.model_validate({"model": {"name": name}, "training": training})


def test_another_training_is_named_by_what_differs() -> None:
    model = SimpleNamespace(to_dict=lambda: {"hidden_size": 8, "transformers_version": "1"})
    newer = SimpleNamespace(to_dict=lambda: {"hidden_size": 8, "transformers_version": "2"})
    larger = SimpleNamespace(to_dict=lambda: {"hidden_size": 9})
    what = fingerprint(config(), model, "d")
    manifest = Manifest(job_id="j", attempt=1, step=3, epoch=0.5, fingerprint=what)
    start = Start(Path("checkpoints/checkpoint-3"), manifest)
    check_fits(start, fingerprint(config(), newer, "d"))
    others = {
        r"model \(was m, is n\)": fingerprint(config("n"), model, "d"),
        "model configuration": fingerprint(config(), larger, "d"),
        r"method \(was sft, is dpo\)": fingerprint(config(method="dpo"), model, "d"),
        "data set": fingerprint(config(), model, "e"),
    }
    for said, now in others.items():
        with pytest.raises(ConfigurationError, match=f"differ: {said}[^;]*$"):
            check_fits(start, now)
