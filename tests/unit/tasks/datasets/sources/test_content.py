"""A file's content is hashed once, and again wherever it may have changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tasks.datasets.sources import content
from tasks.datasets.sources.content import content_of
from tasks.errors import DatasetError


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read to be hashed; files settle at once."""
    names: list[str] = []
    really = hashlib.file_digest

    def counting(file: object, algorithm: str) -> object:
        names.append(Path(file.name).name)  # type: ignore[attr-defined]
        return really(file, algorithm)  # type: ignore[arg-type]

    monkeypatch.setattr(content.hashlib, "file_digest", counting)
    monkeypatch.setattr(content, "SETTLED_S", -1.0)
    return names


def test_a_file_is_hashed_once(tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "a").write_text("one")
    first = content_of(tmp_path / "a", tmp_path / "cache")
    assert first == hashlib.sha256(b"one").hexdigest()
    assert content_of(tmp_path / "a", tmp_path / "cache") == first
    assert hashed == ["a"]


def test_a_rewrite_that_keeps_size_inode_and_time_is_noticed(
    tmp_path: Path, hashed: list[str]
) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    first, before = content_of(path, tmp_path / "cache"), path.stat()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_ino, after.st_mtime_ns) == (
        before.st_size,
        before.st_ino,
        before.st_mtime_ns,
    )
    assert content_of(path, tmp_path / "cache") != first


def test_the_same_content_elsewhere_is_the_same(tmp_path: Path, hashed: list[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "x").write_text("one")
    assert content_of(tmp_path / "a", tmp_path / "cache") == content_of(
        tmp_path / "b", tmp_path / "cache"
    )
    (tmp_path / "b" / "inner" / "x").rename(tmp_path / "b" / "inner" / "y")
    assert content_of(tmp_path / "a", tmp_path / "cache") != content_of(
        tmp_path / "b", tmp_path / "cache"
    )
    assert hashed == ["x", "x", "y"]


def test_a_file_that_has_just_changed_is_not_trusted_to_stay(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    content_of(tmp_path / "a", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("one")

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(content.hashlib, "file_digest", forbidden)
    with pytest.raises(DatasetError, match="'a' of the data set may not be read"):
        content_of(tmp_path, tmp_path / "cache")


def test_a_broken_memo_is_made_again(tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "a").write_text("one")
    first = content_of(tmp_path / "a", tmp_path / "cache")
    for memo in (tmp_path / "cache").rglob("*.json"):
        memo.write_text("{")
    assert content_of(tmp_path / "a", tmp_path / "cache") == first
    assert hashed == ["a", "a"]
