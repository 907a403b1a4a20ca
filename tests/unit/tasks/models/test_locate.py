"""Names of models that no folder can have: refused with the field's name, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ModelError
from tasks.models.load import locate_model


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("circle", "Symlink loop"),
        ("./a\0b", "null byte"),
        ("x" * 5000, "File name too long"),
        ("./" + "x" * 300, "File name too long"),
    ],
)
def test_a_name_that_cannot_be_looked_at_is_refused(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(ModelError, match=reason) as refused:
        locate_model(name, [str(tmp_path)], revision=None, allow_remote_code=False)
    assert "Check model.name." in str(refused.value)
    assert len(str(refused.value)) < 500
