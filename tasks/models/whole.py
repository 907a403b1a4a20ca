"""Wholeness of a model's weights: each is in its files, in its shape, and none is left over.

transformers makes up what is missing, at random, and says so in a warning.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tasks.errors import ModelError

_HARMLESS = re.compile(
    r"(^|\.)(inv_freq|original_inv_freq|position_ids|masked_bias|attn\.bias|attention\.bias"
    r"|relative_position_index|num_batches_tracked)$"
    # Heads beside the language model: they guess several tokens at once, or value a text (PPO).
    r"|(^|\.)(mtp|mtp_layers|v_head)\."
)
"""Names of what may be left over: older versions saved what is computed."""
NEW_HEAD = "score.weight"
"""Of a model that gives a text one number, in every architecture that continues texts."""
_HEADS = ("lm_head.", "embed_out.")
_LISTED = 5
_MEND = "Copy or download the model's files again, and check that config.json is this model's."


def check_whole(info: Mapping[str, Any], name: str, *, new_head: bool = False) -> None:
    """Raise ModelError unless the files of the model ``name`` held its weights, all and only those.

    ``info``: what ``from_pretrained`` gives with ``output_loading_info``. ``new_head``: that of
    scores is made in the place of the model's own.
    """
    missing = set(info["missing_keys"]) - ({NEW_HEAD} if new_head else set())
    if missing:
        raise ModelError(
            f"The files of the model {name!r} lack {_listed(missing)}: these weights would be "
            "random.",
            _MEND,
        )
    shapes = {
        f"{key} ({_shape(found)} where {_shape(wanted)} is meant)"
        for key, found, wanted in info["mismatched_keys"]
    }
    if shapes:
        raise ModelError(
            f"The files of the model {name!r} hold weights of another shape than its config.json "
            f"says: {_listed(shapes)}.",
            _MEND,
        )
    left = [key for key in info["unexpected_keys"] if not _HARMLESS.search(key)]
    if new_head:
        left = [key for key in left if not key.startswith(_HEADS)]
    if left:
        raise ModelError(
            f"The files of the model {name!r} hold weights that its class, as config.json "
            f"describes it, has no place for: {_listed(left)}. The result would lack them.",
            _MEND,
        )


def _shape(sizes: Collection[int]) -> str:
    return " x ".join(str(size) for size in sizes)


def _listed(keys: Collection[str]) -> str:
    first = sorted(keys)[:_LISTED]
    more = len(keys) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def broken_file(folder: Path) -> tuple[Path, str] | None:
    """The first safetensors file of the folder that cannot be opened, and why."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError as error:
            return path, str(error)
    return None
