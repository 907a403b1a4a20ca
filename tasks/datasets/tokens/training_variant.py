"""Variants for training of chat templates that are known: they keep what the originals leave out.

TRL ships both, as files: `qwen3.jinja` and `qwen3_training.jinja`.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tasks.datasets.tokens.template import named_templates

_ENDING = "_training.jinja"


@cache
def _variants() -> dict[str, str]:
    """Variant by original. Read from the files: the import of trl takes seconds."""
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None  # a requirement of this package
    folder = Path(spec.origin).parent / "chat_templates"
    return {
        original.read_text(encoding="utf-8"): variant.read_text(encoding="utf-8")
        for variant in sorted(folder.glob(f"*{_ENDING}"))
        for original in [variant.with_name(variant.name.replace(_ENDING, ".jinja"))]
        if original.is_file()
    }


def training_variant(tokenizer: Any) -> str | None:
    """TRL's variant of the tokenizer's chat template; None if it has none."""
    return _variants().get(named_templates(tokenizer).get("default", ""))
