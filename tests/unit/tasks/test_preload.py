"""Preload: what every training would otherwise make again is there to be forked."""

from __future__ import annotations

import sys

from transformers import conversion_mapping

from tasks import preload


def test_a_fork_finds_what_the_libraries_make_once() -> None:
    assert conversion_mapping._checkpoint_conversion_mapping_cache is not None
    for kind in preload.COMMON_MODELS:
        assert f"transformers.models.{kind}.modeling_{kind}" in sys.modules, kind
