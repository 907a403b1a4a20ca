"""The wheel, as people install it: built, installed into an environment of its own, and run from
another folder. Its dependencies, which take minutes to install, are borrowed from this one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import PRODUCT, REPOSITORY, product_files, repository_files
from trainyard import __version__

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, called as a clone is: a build writes into the folder that it builds."""
    source = tmp_path_factory.mktemp("source") / "trainyard"
    for name in repository_files(*PRODUCT, "pyproject.toml", "requirements.txt", "README.md"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("built")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(source))
    (made,) = built.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment that the wheel is installed into."""
    programs = _environment(tmp_path_factory.mktemp("environment"), str(wheel))
    shutil.copy(Path(sys.executable).with_name("celery"), programs / "celery")
    return programs


def test_the_wheel_holds_the_product_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith(f"trainyard-{__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == set(product_files())


def test_the_demo_runs_from_the_wheel(programs: Path, tmp_path: Path) -> None:
    """In a folder that has nothing of ours, with the data set and the model made there."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"TRAINYARD_HOME": str(tmp_path / "home")}
    names = ("trainyard", "backend_bridge", "worker", "tasks", "celeryconfig", "flowerconfig")
    code = f"import importlib.util as i; print(*(i.find_spec(n).origin for n in {names}))"
    asked = [programs / "python", "-c", code]
    places = subprocess.check_output(asked, cwd=tmp_path, env=environment, text=True).split()
    assert [place for place in places if not place.startswith(str(programs.parent))] == []

    done = subprocess.run(
        [programs / "trainyard", "demo", "--steps", "3"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"status at the backend +completed", done.stdout)
    (model,) = (tmp_path / "home/demo/jobs").glob("*/model/model.safetensors")
    assert model.stat().st_size > 0


def test_a_script_beside_the_clone_finds_the_client(source: Path, tmp_path: Path) -> None:
    """As ``make setup`` installs it: a folder called trainyard stands before all else then."""
    programs = _environment(tmp_path, "--no-build-isolation", "--editable", str(source))
    script = source.parent / "mine.py"
    script.write_text("from trainyard import Client\nprint(Client.__module__)\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.check_output([programs / "python", script], env=environment, text=True)
    assert said == "trainyard.python_client\n"


def _environment(folder: Path, *what: str) -> Path:
    """Folder of the programs of an environment with ``what`` installed.

    Its last resort is this environment's packages. They stand on the path by a .pth file, and no
    .pth file of theirs is read: Trainyard itself is not among them as an editable install.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    program = folder / "bin" / "python"
    _pip("--python", str(program), "install", "--no-deps", "--no-index", *what)
    return program.parent


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
