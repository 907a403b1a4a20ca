"""Known bugs, put back one at a time: does the suite find each? ``make known-bugs``.

Every ``*.patch`` beside this file is a bug that was, or could have been, and names the test that
finds it. In a copy of the checkout each patch is applied, its test is run, and must fail.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]
TIMEOUT_S = 300
PASSED, FAILED = 0, 1
"""Exit codes of pytest; every other one means that the test could not be run."""


@dataclass(frozen=True)
class KnownBug:
    """One patch: ``story`` in a sentence, ``test`` the node id of who finds it."""

    path: Path
    story: str
    test: str

    @property
    def name(self) -> str:
        return self.path.stem


def read_bug(path: Path) -> KnownBug:
    """A patch and the words above it. Raises ValueError if it names no test."""
    head = path.read_text().partition("\n--- a/")[0]
    found = re.fullmatch(r"(.+)\n\nFound by: (tests/\S+)\n", head, re.DOTALL)
    if found is None:
        raise ValueError(f"{path.name} begins with a sentence and 'Found by: tests/...'")
    return KnownBug(path, " ".join(found[1].split()), found[2])


def known_bugs() -> list[KnownBug]:
    """All of them, by name."""
    return [read_bug(path) for path in sorted(FOLDER.glob("*.patch"))]


def applies(bug: KnownBug, checkout: Path, *options: str) -> bool:
    """Apply a patch; with ``--check`` only see whether it could be."""
    command = ["git", "apply", *options, str(bug.path)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, check=False)
    return done.returncode == 0


def copy_checkout(target: Path) -> None:
    """What git knows of this checkout, and what is new in it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        source = REPOSITORY / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def run_tests(checkout: Path, *tests: str) -> int:
    """Exit code of pytest in a copy, whose packages come before the installed ones."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode


def verdicts(bugs: list[KnownBug], checkout: Path) -> Iterator[tuple[KnownBug, str]]:
    """Each bug and what became of it: "" if it was found."""
    for bug in bugs:
        if not applies(bug, checkout):
            yield bug, "its patch does not apply any more"
            continue
        try:
            code = run_tests(checkout, bug.test)
        finally:
            applies(bug, checkout, "--reverse")
        yield bug, {FAILED: "", PASSED: "SURVIVED"}.get(code, f"pytest ended with {code}")


def main(wanted: list[str]) -> int:
    """Exit code 0 if every bug (or each that is named) was found by its test."""
    bugs = [bug for bug in known_bugs() if not wanted or bug.name in wanted]
    not_found = 0
    with tempfile.TemporaryDirectory(prefix="trainyard-known-bugs-") as folder:
        checkout = Path(folder)
        copy_checkout(checkout)
        if run_tests(checkout, *sorted({bug.test for bug in bugs})) != PASSED:
            print("without any bug one of the tests fails", flush=True)
            return 1
        for bug, problem in verdicts(bugs, checkout):
            not_found += bool(problem)
            print(f"{bug.name}: {problem or 'found by ' + bug.test}", flush=True)
    print(f"{len(bugs) - not_found} of {len(bugs)} bugs were found")
    return 1 if not_found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
