"""Which files a job may read, and where the rows in a request are kept."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import datasets
import pytest

from tasks.datasets.parts import open_parts
from tasks.datasets.sources.locate import DownloadLimits, locate_dataset, resolve_beneath
from tasks.errors import DatasetError
from tests.support.data_files import write
from tests.support.file_server import FileServer
from trainyard.contract.statuses import JobStatus
from trainyard.settings import read_settings
from trainyard.store.job import Job
from worker.supervisor.training_spec import training_spec


def test_only_the_data_set_roots_can_be_read(tmp_path: Path) -> None:
    root, other, outside = tmp_path / "one", tmp_path / "two", tmp_path / "outside"
    for folder in (root, other, outside):
        folder.mkdir()
    secret = write(outside / "secret.jsonl", "{}")
    inside = write(other / "a.jsonl", "{}")
    roots = [str(root), str(other)]
    assert resolve_beneath("a.jsonl", roots) == inside
    assert resolve_beneath(str(inside), roots) == inside
    (root / "link.jsonl").symlink_to(secret)
    for path in ("link.jsonl", "../outside/secret.jsonl", str(secret)):
        with pytest.raises(DatasetError, match="outside of the folders"):
            resolve_beneath(path, roots)
    with pytest.raises(DatasetError, match=r"No such data set: 'missing\.jsonl'"):
        resolve_beneath("missing.jsonl", roots)


def test_a_url_that_is_refused_does_not_repeat_its_password(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="private address") as caught:
        locate_dataset("https://me:hunter2@127.0.0.1/a.jsonl?token=x", None, [], tmp_path)
    assert "hunter2" not in str(caught.value)
    assert "token" not in str(caught.value)


def test_a_url_is_fetched_and_known_by_its_name(tmp_path: Path) -> None:
    limits = DownloadLimits(max_bytes=100, allow_private_urls=True)
    with FileServer(files={"/set/a.jsonl": b'{"text": "a"}\n'}) as server:
        found = locate_dataset(server.url("/set/a.jsonl"), None, [], tmp_path, limits)
    assert found.name == "a.jsonl"
    assert found.path.read_text() == '{"text": "a"}\n'
    with pytest.raises(DatasetError, match=r"larger|GB"), FileServer() as server:
        server.files["/b"] = b"x" * 101
        locate_dataset(server.url("/b"), None, [], tmp_path, limits)


def test_inline_content_is_kept_under_its_hash(tmp_path: Path) -> None:
    first = locate_dataset("", '{"text": "a"}', [], tmp_path)
    assert first == locate_dataset("", '{"text": "a"}', [], tmp_path)
    assert first != locate_dataset("", '{"text": "b"}', [], tmp_path)
    assert first.path.read_text() == '{"text": "a"}'


def test_a_saved_folder_cannot_point_out_of_itself(tmp_path: Path) -> None:
    outside, saved = tmp_path / "outside", tmp_path / "root/saved"
    datasets.Dataset.from_list([{"text": "secret"}]).save_to_disk(outside)
    datasets.Dataset.from_list([{"text": "fine"}]).save_to_disk(saved)
    assert len(open_parts(saved, tmp_path / "cache")[0]) == 1
    (shard,) = outside.glob("*.arrow")
    state = json.loads((saved / "state.json").read_text())
    state["_data_files"] = [{"filename": f"../../outside/{shard.name}"}]
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(DatasetError, match="is damaged"):
        open_parts(saved, tmp_path / "cache")


def test_a_link_inside_a_folder_cannot_point_out_of_the_roots(tmp_path: Path) -> None:
    (tmp_path / "root/folder").mkdir(parents=True)
    (tmp_path / "secret.arrow").write_text("x")
    (tmp_path / "root/folder/data.arrow").symlink_to(tmp_path / "secret.arrow")
    with pytest.raises(DatasetError, match="outside of the folders"):
        locate_dataset("folder", None, [str(tmp_path / "root")], tmp_path)


def test_a_pipe_is_no_data_set(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DatasetError, match="neither a file nor a folder"):
        locate_dataset("pipe.jsonl", None, [str(tmp_path)], tmp_path)


@pytest.mark.parametrize("name", ["../../secret.arrow", "/etc/passwd", "a/../../x"])
def test_a_saved_folder_in_an_archive_cannot_point_out_of_it(tmp_path: Path, name: str) -> None:
    state = json.dumps({"_data_files": [{"filename": name}]})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("state.json", state)
        archive.writestr("dataset_info.json", "{}")
    with pytest.raises(DatasetError, match="is damaged"):
        open_parts(tmp_path / "a.zip", tmp_path / "cache")


def test_the_settings_reach_the_training() -> None:
    settings = read_settings(max_download_gb=7, allow_private_urls=True)
    spec = training_spec(settings, "host-0", Job("job", JobStatus.RUNNING, 1, 0.0, 0.0))
    assert (spec.max_download_gb, spec.allow_private_urls) == (7, True)
