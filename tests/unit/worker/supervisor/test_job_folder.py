"""The job's folder on a full disk: the slot loses the job, and no other end is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainyard.contract.errors import ErrorKind
from trainyard.contract.job_folder import LOG, PUT_BACK, REQUEST
from worker.supervisor.job_folder import note_put_back, open_records, prepare
from worker.supervisor.loss import AttemptLost


def full_disk_at(folder: Path, name: str) -> None:
    """What is to become the file ``name`` finds no room."""
    (folder / f".{name}.{os.getpid()}").symlink_to("/dev/full")


def test_a_job_that_finds_no_room_at_its_start_is_lost_by_the_slot(tmp_path: Path) -> None:
    full_disk_at(tmp_path, REQUEST)
    with pytest.raises(AttemptLost, match="The disk is full: ") as caught:
        prepare(tmp_path, {})
    assert (caught.value.kind, caught.value.of_slot) == (ErrorKind.DISK_FULL, True)


def test_another_error_of_the_folder_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with pytest.raises(IsADirectoryError), open_records(tmp_path):
        pass


def test_a_put_back_that_cannot_be_noted_is_one_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full_disk_at(tmp_path, PUT_BACK)
    note_put_back(tmp_path, 3)
    assert f"{tmp_path.name}:3: that it was put back cannot be noted" in caplog.text
