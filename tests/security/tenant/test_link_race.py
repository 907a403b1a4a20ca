"""Exchange of a file and a link while a data set is opened: never what lies outside."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.datasets.parts import open_parts
from tasks.datasets.sources import held_files, locate
from tasks.datasets.sources.held_files import HeldFiles
from tasks.datasets.sources.locate import locate_dataset
from tasks.errors import DatasetError

TRIES = 200
RENAME_EXCHANGE = 2
HARMLESS, SECRET = "harmless\n\n" * 5, "TOPSECRET of another tenant\n"


@contextmanager
def exchanged(one: Path, other: Path) -> Iterator[None]:
    """The two names change places all the time."""
    libc, stop = ctypes.CDLL(None, use_errno=True), threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), RENAME_EXCHANGE)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("inside", ["a.txt", "sub/a.txt"])
def test_a_file_that_becomes_a_link_is_not_followed(inside: str, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.txt"
    good = root / "set" / inside
    good.parent.mkdir(parents=True)
    outside.write_text(SECRET)
    good.write_text(HARMLESS)
    bad = good.with_name(".other")
    bad.symlink_to(outside)
    seen = 0
    with exchanged(good, bad):
        for path in [f"set/{inside}", "set"] * (TRIES // 2):
            try:
                found = locate_dataset(path, None, [str(root)], tmp_path / "cache")
            except DatasetError:
                continue
            files = [file for file in [found.path, *found.path.rglob("*.txt")] if file.is_file()]
            assert all(SECRET not in file.read_text() for file in files)
            seen += len(files)
            found.close()
    assert seen, "some were read"
    assert list((tmp_path / "cache" / "held").iterdir()) == []


def test_what_was_checked_is_what_is_read(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.txt"
    root.mkdir()
    outside.write_text(SECRET)
    (root / "a.txt").write_text(HARMLESS)
    found = locate_dataset("a.txt", None, [str(root)], tmp_path / "cache")
    (root / "a.txt").unlink()
    (root / "a.txt").symlink_to(outside)
    rows = [row for _, row in open_parts(found.path, tmp_path / "cache", name="a.txt")[0].rows()]
    assert found.path.name == "a.txt"
    assert rows == [{"text": "harmless"}] * 5
    found.close()
    assert not found.path.exists()


def test_a_link_between_the_check_and_the_opening_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (root / "sub/a.txt").write_text(HARMLESS)
    (outside / "a.txt").write_text(SECRET)

    def exchange(*arguments: object) -> HeldFiles:
        (root / "sub").rename(root / "moved")
        (root / "sub").symlink_to(outside)
        return held_files.HeldFiles(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(locate, "HeldFiles", exchange)
    with pytest.raises(DatasetError, match="was changed while it was opened"):
        locate_dataset("sub/a.txt", None, [str(root)], tmp_path / "cache")


@pytest.mark.parametrize("error", [OSError(22, "Invalid argument"), RuntimeError("Symlink loop")])
def test_a_link_that_changes_while_it_is_followed_is_refused(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    (root / "set").mkdir(parents=True)
    (root / "set/real.txt").write_text(HARMLESS)
    (root / "set/a.txt").symlink_to("real.txt")

    def changed(path: Path) -> Path:
        if path.name == "a.txt":
            raise error
        return Path(os.path.realpath(path))

    def exchange(*arguments: object) -> HeldFiles:
        monkeypatch.setattr(Path, "resolve", changed)
        return held_files.HeldFiles(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(locate, "HeldFiles", exchange)
    with pytest.raises(DatasetError, match="was changed while it was opened"):
        locate_dataset("set", None, [str(root)], tmp_path / "cache")


def test_links_within_the_roots_are_read(tmp_path: Path) -> None:
    """As the hub's cache has them; one that leads around in a circle is not gone into."""
    root = tmp_path / "root"
    (root / "blobs").mkdir(parents=True)
    (root / "snapshot").mkdir()
    (root / "blobs/0123").write_text('{"text": "a"}\n')
    (root / "snapshot/a.jsonl").symlink_to(root / "blobs/0123")
    (root / "snapshot/back").symlink_to(root / "snapshot")
    (root / "snapshot/gone.jsonl").symlink_to(root / "nowhere")
    found = locate_dataset("snapshot", None, [str(root)], tmp_path / "cache")
    part = open_parts(found.path, tmp_path / "cache", name=found.name)[0]
    assert [row for _, row in part.rows()] == [{"text": "a"}]
    found.close()
