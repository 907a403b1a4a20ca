"""A checkpoint counts only where it is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.checkpoints.folder import best_checkpoint, last_good, list_checkpoints, prune, seal
from trainyard.contract.checkpoint_manifest import (
    MANIFEST_NAME,
    CheckpointDamaged,
    Manifest,
    verify,
)


def make_checkpoint(
    folder: Path, step: int, *, sealed: bool = True, metric: float | None = None
) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "inner").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights of step %d" % step)
    (path / "inner" / "optimizer.pt").write_bytes(b"moments")
    (path / "training_args.bin").write_bytes(b"a pickle")
    if sealed:
        manifest = Manifest(job_id="j", attempt=2, step=step, epoch=0.5, eval_loss=1.25)
        seal(path, manifest.model_copy(update={"metric": metric}))
    return path


def test_a_sealed_checkpoint_verifies(tmp_path: Path) -> None:
    manifest = verify(make_checkpoint(tmp_path, 10))
    assert (manifest.step, manifest.attempt, manifest.eval_loss) == (10, 2, 1.25)
    assert set(manifest.files) == {"model.safetensors", "inner/optimizer.pt"}
    assert manifest.size_bytes == len(b"weights of step 10") + len(b"moments")


def test_the_pickle_that_no_resume_reads_is_gone(tmp_path: Path) -> None:
    assert not (make_checkpoint(tmp_path, 10) / "training_args.bin").exists()


def flip_a_byte(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(b"W" + weights.read_bytes()[1:])


def cut_the_manifest(path: Path) -> None:
    manifest = path / MANIFEST_NAME
    manifest.write_bytes(manifest.read_bytes()[:-20])


def add_a_file_outside(path: Path) -> None:
    manifest = Manifest.model_validate_json((path / MANIFEST_NAME).read_bytes())
    files = {**manifest.files, "../secret": manifest.files["model.safetensors"]}
    changed = manifest.model_copy(update={"files": files})
    (path / MANIFEST_NAME).write_text(changed.model_dump_json())


DAMAGES: dict[str, Callable[[Path], object]] = {
    "never finished": lambda path: (path / MANIFEST_NAME).unlink(),
    "unreadable manifest": cut_the_manifest,
    "lacks model.safetensors": lambda path: (path / "model.safetensors").unlink(),
    "another size": lambda path: (path / "model.safetensors").write_bytes(b"short"),
    "other contents": flip_a_byte,
    "lacks ../secret": add_a_file_outside,
}


@pytest.mark.parametrize("said", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, said: str) -> None:
    make_checkpoint(tmp_path, 9)
    newest = make_checkpoint(tmp_path, 10)
    DAMAGES[said](newest)
    with pytest.raises(CheckpointDamaged, match=said):
        verify(newest)
    found = last_good(tmp_path)
    assert found is not None
    assert found[0].name == "checkpoint-9"


def test_a_checkpoint_under_another_steps_name_is_refused(tmp_path: Path) -> None:
    moved = make_checkpoint(tmp_path, 10).rename(tmp_path / "checkpoint-90")
    with pytest.raises(CheckpointDamaged, match="manifest of step 10"):
        verify(moved)


def test_checkpoints_are_listed_by_step(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        make_checkpoint(tmp_path, step, sealed=False)
    (tmp_path / "checkpoint-x").mkdir()
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "checkpoint-3",
        "checkpoint-20",
        "checkpoint-100",
    ]
    assert last_good(tmp_path) is None
    assert list_checkpoints(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("keep", "best_step", "left"),
    [
        (2, None, [30, 40]),
        (2, 10, [10, 40]),
        (1, 20, [20, 40]),
        (9, None, [10, 20, 30, 40]),
        (1, 40, [40]),
    ],
)
def test_pruning_spares_the_newest_and_the_best(
    tmp_path: Path, keep: int, best_step: int | None, left: list[int]
) -> None:
    for step in (10, 20, 30, 40):
        make_checkpoint(tmp_path, step)
    prune(tmp_path, keep, tmp_path / f"checkpoint-{best_step}")
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        f"checkpoint-{step}" for step in left
    ]


@pytest.mark.parametrize(("greater", "step"), [(False, 20), (True, 30)])
def test_the_best_is_chosen_among_those_that_were_evaluated(
    tmp_path: Path, greater: bool, step: int
) -> None:
    for number, metric in ((10, None), (20, 1.0), (30, 3.0), (40, 2.0)):
        make_checkpoint(tmp_path, number, metric=metric)
    (tmp_path / f"checkpoint-{50 - step}" / MANIFEST_NAME).unlink()
    found = best_checkpoint(tmp_path, greater=greater)
    assert found is not None
    assert found.name == f"checkpoint-{step}"
    assert best_checkpoint(tmp_path / "none", greater=greater) is None
