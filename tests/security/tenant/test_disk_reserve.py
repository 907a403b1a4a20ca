"""Reserve of a disk: for checkpoints and Redis, whatever a job downloads, unpacks or prints."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from tasks.datasets.cache import cached_with_facts
from tasks.datasets.parts import open_parts
from tasks.datasets.sources.remote.fetch import fetch
from tasks.datasets.sources.remote.http import TransferLimits
from tasks.errors import report
from tests.support.file_server import FileServer
from trainyard.contract.errors import ErrorKind
from trainyard.contract.units import GB, MB
from worker.supervisor import job_folder
from worker.supervisor.job_folder import open_records

ROWS = b'{"text": "a"}\n' * 100


@pytest.fixture(params=[(1000 * GB, 990 * MB), (10 * GB, 190 * MB)])
def nearly_full(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    total, free = request.param
    usage = shutil._ntuple_diskusage(total, total - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def download(folder: Path) -> None:
    with FileServer(files={"/a.jsonl": ROWS}) as server:
        fetch(server.url("/a.jsonl"), folder, TransferLimits(allow_private=True))


def unpack(folder: Path) -> None:
    packed = folder / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(ROWS))
    open_parts(packed, folder / "cache")


def read_rows(folder: Path) -> None:
    plain = folder / "a.jsonl"
    plain.write_bytes(ROWS)
    open_parts(plain, folder / "cache")


def tokenise(folder: Path) -> None:
    schema = pyarrow.schema([("input_ids", pyarrow.list_(pyarrow.int32()))])
    cached_with_facts(folder / "tokens.arrow", schema, lambda _: [{"input_ids": [[1, 2]]}])


@pytest.mark.usefixtures("nearly_full")
@pytest.mark.parametrize("fill", [download, unpack, read_rows, tokenise])
def test_what_others_sent_leaves_the_reserve(fill: Callable[[Path], None], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="kept for checkpoints") as caught:
        fill(tmp_path)
    found = report(caught.value)
    assert found.kind is ErrorKind.DISK_FULL
    assert found.message.endswith("what is left is kept for checkpoints and Redis.")


@pytest.mark.usefixtures("nearly_full")
def test_a_log_leaves_the_reserve_and_points_are_written(tmp_path: Path) -> None:
    with open_records(tmp_path) as (log, metrics):
        log.append("a line\n")
        metrics.append("a point\n")
    assert (tmp_path / "train.log").read_bytes() == b""
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"a point\n"


def test_a_log_without_end_takes_twice_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_folder, "LOG_BYTES_MAX", 10_000)
    with open_records(tmp_path) as (log, _):
        for number in range(1000):
            log.append(f"{number:099}\n")
    newest, before = ((tmp_path / name).read_text() for name in ("train.log", "train.log.1"))
    assert len(newest) + len(before) <= 20_200
    assert [int(line) for line in (before + newest).splitlines()][-1] == 999
