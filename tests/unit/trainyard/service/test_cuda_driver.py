"""The oldest driver follows from the CUDA that torch was built for, which is read without torch."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from trainyard.service import cuda_driver


@pytest.mark.parametrize(
    ("driver", "cuda", "needs"),
    [("550.90.07", "13.0", 580), ("580.65.06", "13.0", None), ("515.105.01", "12.6", 525)],
)
def test_a_driver_is_too_old_for_a_cuda(driver: str, cuda: str, needs: int | None) -> None:
    said = cuda_driver.too_old(driver, cuda)
    if needs is None:
        assert said is None
    else:
        assert said == (
            f"the driver {driver} is too old: torch is built for CUDA {cuda}, "
            f"which needs {needs} or newer"
        )


@pytest.mark.parametrize(
    ("line", "cuda"),
    [
        ("cuda: Optional[str] = None", None),
        ("cuda: Optional[str] = '13.0'", "13.0"),
        ("cuda = '12.6'", "12.6"),
        ("", None),  # torch is not installed
    ],
)
def test_torch_s_cuda_is_read_from_its_version_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, cuda: str | None
) -> None:
    (tmp_path / "version.py").write_text(f"__version__ = '2.13.0'\ndebug = False\n{line}\n")
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(cuda_driver, "find_spec", lambda _: spec if line else None)
    assert cuda_driver.torch_cuda() == cuda
