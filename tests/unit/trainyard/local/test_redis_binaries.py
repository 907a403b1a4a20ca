"""The server that serves data: never one older than wrote them, a patched one if there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainyard.local.redis_binaries import (
    NoServer,
    RedisBinary,
    Version,
    binaries,
    chosen,
    has_known_hole,
    version_of,
)

OLD, SHIPPED, DEBIANS, NEW = (
    RedisBinary(name, version)
    for name, version in (
        ("old", (6, 0, 16)),
        ("shipped", (6, 2, 14)),
        ("debian's", (7, 0, 15)),
        ("new", (8, 2, 3)),
    )
)


@pytest.mark.parametrize(
    ("choice", "wrote", "expected"),
    [
        ([SHIPPED], "", SHIPPED),
        ([SHIPPED, DEBIANS], "", DEBIANS),
        ([DEBIANS, NEW], "", DEBIANS),
        ([OLD, SHIPPED], "", SHIPPED),
        ([SHIPPED], "6.2.19", SHIPPED),
        ([SHIPPED, DEBIANS], "7.0.15", DEBIANS),
        ([DEBIANS], "6.2.14", DEBIANS),
    ],
)
def test_the_choice(
    choice: list[RedisBinary], wrote: str, expected: RedisBinary, tmp_path: Path
) -> None:
    if wrote:
        (tmp_path / "version").write_text(wrote)
    assert chosen(choice, tmp_path) == expected


@pytest.mark.parametrize("version", ["", "6.2.14"])
def test_data_that_were_moved_into_a_folder_are_of_a_newer_server(
    version: str, tmp_path: Path
) -> None:
    (tmp_path / "appendonlydir").mkdir()
    if version:
        (tmp_path / "version").write_text(version)
    with pytest.raises(NoServer, match=r"would start empty beside them: shipped is 6\.2\.14"):
        chosen([SHIPPED], tmp_path)
    assert chosen([SHIPPED, DEBIANS], tmp_path) == DEBIANS


def test_a_server_behind_another_on_the_path_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An activated environment's own comes before the distribution's."""
    for folder, version in (("environment", "6.2.14"), ("distribution", "7.0.15")):
        program = tmp_path / folder / "redis-server"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho Redis server v={version} sha=0\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'environment'}{os.pathsep}{tmp_path / 'distribution'}")
    found = binaries()
    assert [one.version for one in found[:2]] == [SHIPPED.version, DEBIANS.version]
    (tmp_path / "version").write_text("7.0.15")
    assert chosen(found, tmp_path) == found[1]


def test_a_server_that_lacks_commands(tmp_path: Path) -> None:
    with pytest.raises(NoServer, match=r"Redis 6\.2\.0 at least is needed: old is 6\.0\.16"):
        chosen([OLD], tmp_path)


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((6, 2, 14), True), ((6, 2, 20), False), ((7, 0, 14), True), ((7, 0, 15), False),
        ((7, 2, 4), True), ((7, 2, 11), False), ((8, 2, 1), True), ((8, 2, 3), False),
        ((9, 1, 2), False),
    ],
)  # fmt: skip
def test_known_holes(version: Version, has: bool) -> None:
    assert has_known_hole(version) is has


def test_what_is_no_version() -> None:
    with pytest.raises(ValueError, match="no version"):
        version_of("v7")
