"""Packaging: everything of the product goes into the wheel; `import trainyard` costs nothing.
tests/acceptance/test_wheel.py builds the wheel and runs it."""

from __future__ import annotations

import subprocess
import tomllib

from tests.support.paths import REPOSITORY, product_files
from tests.unit.test_doors import HEAVY, SERVICE, loaded
from trainyard import __version__

SETUPTOOLS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_globs_of_package_data_cover_every_file_that_is_no_python() -> None:
    covered = {
        str(path.relative_to(REPOSITORY))
        for package, globs in SETUPTOOLS["package-data"].items()
        for glob in globs
        for path in (REPOSITORY / package.replace(".", "/")).glob(glob)
    }
    data = {name for name in product_files() if not name.endswith(".py")}
    assert data, "the Lua scripts, at least"
    assert data == covered & set(product_files())


def test_every_folder_with_python_is_a_package() -> None:
    """setuptools' `find` passes over a folder without `__init__.py`, in silence."""
    folders = {name.rpartition("/")[0] for name in product_files() if name.endswith(".py")} - {""}
    assert {f for f in folders if not (REPOSITORY / f / "__init__.py").exists()} == set()


def test_import_trainyard_is_light_and_gives_the_version() -> None:
    code = f"import trainyard; assert trainyard.__version__ == {__version__!r}"
    tops = {name.partition(".")[0] for name in loaded(code)}
    assert "trainyard" in tops
    assert not tops & (HEAVY | SERVICE | {"pydantic", "requests", "click", "numpy"})


def test_the_version_has_one_place() -> None:
    listed = ["git", "grep", "-lwF", __version__, "--", "*.py", "*.toml"]
    found = subprocess.check_output(listed, cwd=REPOSITORY, text=True).split()
    assert [name for name in found if not name.startswith("tests/")] == ["trainyard/__init__.py"]
