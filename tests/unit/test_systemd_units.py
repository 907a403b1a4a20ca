"""Units of deploy/systemd: systemd takes them, and their stop waits for a job's last checkpoint."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from trainyard.settings import Settings

UNITS = sorted((REPOSITORY / "deploy/systemd").glob("*.service"))
VENV = "/opt/trainyard/.venv/bin"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    """As if this environment was the one that the page installs."""
    if (systemd_analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is missing (Debian: systemd)")
    here = str(Path(sys.executable).parent)
    (tmp_path / unit.name).write_text(unit.read_text().replace(VENV, here))
    done = subprocess.run(
        [systemd_analyze, "verify", "--man=no", tmp_path / unit.name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_stop_waits_a_minute_longer_than_a_checkpoint_may_take(unit: Path) -> None:
    (waits,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)
    assert int(waits) == Settings.model_fields["stop_timeout_seconds"].default + 60
