"""Lock of the requirements: ``make lock`` writes requirements.lock from requirements.txt.

Each package stands there with one version and the hashes of its files, for every Python that we
support, in the parts of requirements.txt, which the Dockerfile reads by their headings. torch is
left out, with what its CUDA build brings along: which build it is depends on the machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

REQUIREMENTS, LOCK = Path("requirements.txt"), Path("requirements.lock")
HEAD = """\
# Made by `make lock` from requirements.txt, in the same parts, each up to a blank line: a version
# of each package, with the hashes of its files, for Python 3.11 and 3.12. torch comes before.
"""
_OF_TORCH = re.compile(r"torch|triton|cuda-|nvidia-(?!ml-py)")
_UV = (
    *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--no-config"),
    *("--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"),
)


def main() -> int:
    _, *parts = REQUIREMENTS.read_text().split("\n\n")
    everything = _compiled(parts)
    versions = [line.rstrip(" \\") for entry in everything.values() for line in _heads(entry)]
    text, wanted, listed = HEAD, list[str](), set[str]()
    for part in parts:
        wanted.append(part)
        names = _compiled(wanted, versions).keys() - listed
        heading = part.partition("\n")[0]
        text += "".join((f"\n{heading}\n", *(everything[name] for name in sorted(names))))
        listed |= names
    LOCK.write_text(text)
    print(f"{LOCK}: {len(listed)} packages")
    return 0


def _compiled(requirements: Iterable[str], constraints: Iterable[str] = ()) -> dict[str, str]:
    """Each package's name, and its lines of the lock: one entry, or one for each Python."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, held = Path(folder) / "requirements.in", Path(folder) / "constraints.txt"
        wanted.write_text("\n".join(requirements))
        held.write_text("\n".join(constraints))
        done = subprocess.run(
            [*_UV, "--constraints", held, wanted], stdout=subprocess.PIPE, text=True, check=True
        )
    entries = dict[str, str]()
    for entry in re.split(r"(?m)^(?=\S)", done.stdout):
        name = entry.partition("==")[0]
        if name and not _OF_TORCH.match(name):
            entries[name] = entries.get(name, "") + entry
    return entries


def _heads(entry: str) -> Iterable[str]:
    return (line for line in entry.splitlines() if not line.startswith(" "))


if __name__ == "__main__":
    sys.exit(main())
