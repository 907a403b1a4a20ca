"""GPU_SITE: a folder of packages comes before the interpreter's own, in children too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_proof import carried
from tests.support.paths import REPOSITORY

PROGRAM = """
import subprocess, sys
from benchmarks.gpu_proof import carried
carried.use(sys.argv[1])
import carried_package, trainyard, colorsys
print(carried_package.__file__, trainyard.__file__, colorsys.__file__, sep="\\n", flush=True)
child = "import carried_package, trainyard, colorsys as c;"
child += "print(carried_package.__file__, trainyard.__file__, c.__file__, sep='\\\\n')"
subprocess.run([sys.executable, "-c", child], cwd="/", check=True)
"""


def test_the_folder_is_on_the_path_of_this_process_and_of_its_children(tmp_path: Path) -> None:
    (tmp_path / "carried_package.py").touch()
    (tmp_path / "colorsys.py").touch()  # the interpreter has one too
    (tmp_path / "trainyard").mkdir()  # another version of ours does not come first
    (tmp_path / "trainyard" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "/nowhere"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    ours = str(REPOSITORY / "trainyard" / "__init__.py")
    expected = [str(tmp_path / "carried_package.py"), ours, str(tmp_path / "colorsys.py")]
    assert done.stdout.splitlines() == expected * 2


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"is no folder.*pip install --target"):
        carried.use(str(tmp_path / "absent"))


def test_what_the_proof_itself_needs_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "benchmarks.gpu_proof"],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "OUT": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nvidia-ml-py, psutil, pydantic" in done.stdout
    assert "GPU_SITE" in done.stdout
