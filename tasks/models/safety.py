"""Safety of model files: none makes a library run code, unpickle, or read elsewhere.

transformers itself refuses modules that lie beside a model (``auto_map``, ``custom_generate``)
if ``trust_remote_code`` is False; chat templates run in a sandbox without a loader. The rest is
refused here, before anything is loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from transformers.integrations import hub_kernels

from tasks.errors import ModelError


def check_model_files(folder: Path, name: str, *, trust_remote_code: bool) -> None:
    """Raise ModelError if files of the model ``name`` in ``folder`` ask for any of it."""
    if (folder / "adapter_config.json").exists():
        # PEFT would load what base_model_name_or_path names, wherever that lies.
        raise ModelError(
            f"The model {name!r} is a PEFT adapter, not a whole model.",
            "Name its base model, or merge the adapter first.",
        )
    config = read_json(folder / "config.json", name)
    if not trust_remote_code:
        forbid_hub_kernels()
        for said in (config, read_json(folder / "generation_config.json", name)):
            _refuse_kernels(said, name)
    _refuse_weights_elsewhere(folder, config, name)


def check_tokenizer_files(folder: Path, name: str) -> None:
    """Raise ModelError if files of the tokenizer ``name`` in ``folder`` name others outside."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        for key, value in read_json(folder / file, name).items():
            if key.endswith("_file") and isinstance(value, str) and _leaves(value):
                raise _elsewhere(name, f"{file} ({key}: {value!r})")


def forbid_hub_kernels() -> None:
    """From now on no kernel of a hub is fetched in this process.

    Where the package ``kernels`` is installed, transformers fetches some for a quantisation, for an
    attention whose own package is missing, and for a few architectures.
    """
    hub_kernels.get_kernel_hub = _no_kernel
    if (package := sys.modules.get("kernels")) is not None:
        package.get_kernel = _no_kernel  # type: ignore[attr-defined]  # the same function, as its own


def _no_kernel(name: str, *_: Any, **__: Any) -> None:
    raise runs_code(f"The kernel {name!r}")


def names_a_repository(value: Any) -> bool:
    """Whether an implementation of attention or experts is one of a hub."""
    return isinstance(value, str) and any(sign in value for sign in "/:@")


def runs_code(what: str) -> ModelError:
    """The error for ``what`` names code of a hub."""
    return ModelError(
        f"{what} names code of a hub, which this worker does not run.",
        "Choose sdpa, eager or flash_attention_2, or start the worker with ALLOW_REMOTE_CODE=1 and "
        "set config.model.trust_remote_code, if you trust its author.",
    )


def _refuse_kernels(config: dict[str, Any], name: str) -> None:
    """Raise ModelError if the configuration names code of a hub for attention or experts."""
    for key, value in _implementations(config):
        if names_a_repository(value):
            raise runs_code(f"The configuration of {name!r} ({key}: {value!r})")


def _implementations(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value, however deep, at or below a key that says which implementation is used."""
    if isinstance(value, dict):
        for below, inner in value.items():
            # One implementation for each part of a model may stand below one key.
            yield from _implementations(inner, key or (below if "implementation" in below else ""))
    elif isinstance(value, list):
        for inner in value:
            yield from _implementations(inner, key)
    elif key:
        yield key, value


def _refuse_weights_elsewhere(folder: Path, config: dict[str, Any], name: str) -> None:
    """Raise ModelError if weights are to be read from outside, or from a pickle."""
    chosen = config.get("transformers_weights")
    files = [("config.json", chosen)] if chosen is not None else []
    for index in sorted(folder.rglob("*.safetensors.index.json")):
        shards = read_json(index, name).get("weight_map")
        listed = shards.values() if isinstance(shards, dict) else ()
        files += [(index.name, file) for file in dict.fromkeys(map(str, listed))]
    for where, file in files:
        if not isinstance(file, str) or _leaves(file):
            raise _elsewhere(name, f"{where} ({file!r})")
        if not file.endswith((".safetensors", ".safetensors.index.json")):
            raise ModelError(
                f"{where} of the model {name!r} names {file!r}, which is no safetensors file; "
                "pickled weights are refused, since loading them can run code.",
                "Convert it with save_pretrained and put the result under MODEL_ROOTS.",
            )


def _leaves(path: str) -> bool:
    """Whether a path that a model's file names may lie outside of its folder."""
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _elsewhere(name: str, where: str) -> ModelError:
    return ModelError(
        f"The model {name!r} names a file outside of its folder: {where}",
        "Copy the file into the model's folder and name it there.",
    )


def read_json(path: Path, name: str) -> dict[str, Any]:
    """The JSON object in ``path``; empty if there is no such file. Raises ModelError."""
    try:
        values = json.loads(path.read_bytes()) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path.name} of the model {name!r} is no JSON: {error}",
            "Copy or download the model's files again.",
        ) from error
    if not isinstance(values, dict):
        raise ModelError(
            f"{path.name} of the model {name!r} holds no JSON object.",
            "Copy or download the model's files again.",
        )
    return values
