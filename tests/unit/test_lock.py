"""The lock holds what requirements.txt asks for, by hashes, and whatever installs uses it."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import REPOSITORY

LOCK = (REPOSITORY / "requirements.lock").read_text()
INSTALLED_BEFORE = "torch"


def parts(text: str) -> dict[str, list[str]]:
    """Of each part the heading's first word, and its requirements, without comments."""
    found = {}
    for part in text.split("\n\n")[1:]:
        heading, *lines = part.splitlines()
        found[heading.split()[1].strip(":")] = [line.partition(" #")[0] for line in lines]
    return found


def locked(lines: list[str]) -> dict[str, list[Requirement]]:
    heads = [Requirement(line.rstrip("\\")) for line in lines if not line.startswith(" ")]
    names = {canonicalize_name(head.name) for head in heads}
    return {name: [h for h in heads if canonicalize_name(h.name) == name] for name in names}


WANTED = parts((REPOSITORY / "requirements.txt").read_text())


@pytest.mark.parametrize("part", WANTED)
def test_the_lock_has_every_requirement_by_the_end_of_its_part(part: str) -> None:
    held, locks = dict[str, list[Requirement]](), parts(LOCK)
    for before in list(WANTED)[: list(WANTED).index(part) + 1]:
        held |= locked(locks[before])
    for wanted in map(Requirement, WANTED[part]):
        if wanted.name == INSTALLED_BEFORE:
            continue
        pins = held[canonicalize_name(wanted.name)]
        versions = [next(iter(pin.specifier)).version for pin in pins]
        assert all(wanted.specifier.contains(version) for version in versions), wanted


def test_every_file_is_held_to_a_hash_and_no_index_is_named() -> None:
    entries = re.split(r"(?m)^(?=[\w])", LOCK)[1:]
    assert len(entries) > 100
    for entry in entries:
        head, *hashes = re.split(r" \\\n +", re.sub(r"\n+(#.*)?$", "", entry.rstrip()))
        assert re.match(r"[\w.-]+==[\w.!+]+( ;.*)?$", head.strip()), head
        assert hashes, head
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), head
    assert "://" not in LOCK
    assert not re.search(r"(?m)^--", LOCK)


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile"])
def test_whatever_installs_asks_for_the_hashes(file: str) -> None:
    text = (REPOSITORY / file).read_text()
    assert "requirements.lock" in text
    installs = re.findall(r"(?:pip install|\$\(PIP\))(?: --no-[\w-]+)* (.*)", text)
    asked = {what.split()[0] for what in installs} - {"--quiet"}
    assert asked <= {"--require-hashes", "$torch", "$(TORCH)", "--editable"}
    assert "--no-deps --no-build-isolation --editable ." in text
