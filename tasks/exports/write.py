"""Export of a result: a folder that loads by itself, an adapter merged with its base model.

    python -m tasks.exports.write FOLDER [--ollama] < spec

The spec is a ``GenerationSpec``. Nothing is fetched, no code of a model runs, no GPU is used.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from tasks.errors import ModelError, report
from tasks.exports.modelfile import modelfile
from tasks.generation.loaded import AskedModel, folder_of, load
from tasks.models.end_tokens import accept_faults
from tasks.models.origin import ADAPTER_NAME
from tasks.results.dtype import dtype_of_files, hold_as_saved, round_weights, say_dtype
from tasks.results.files import (
    CARD_NAME,
    make_readable,
    publish,
    write_generation_config,
)
from tasks.results.model_card import whole_card
from tasks.results.reference import ROUGH, difference, logits_of
from trainyard.contract.generation.messages import GenerationSpec
from trainyard.contract.job_folder import MERGED

_PROBE = "The answer is 42, said the computer; nobody had asked."
"""What adapter and merged copy both have to continue alike."""


def write(spec: GenerationSpec, to: Path, *, ollama: bool) -> None:
    """Write the folder ``to``, whole or not at all. Raises ModelError."""
    folder = folder_of(spec)
    partial = to.with_name(f".{to.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if (folder / ADAPTER_NAME).exists():
            _write_merged(load(spec), partial)
            if (folder / CARD_NAME).is_file():
                card = (folder / CARD_NAME).read_text(encoding="utf-8")
                (partial / CARD_NAME).write_text(whole_card(card, partial), encoding="utf-8")
        else:
            shutil.copytree(
                folder,
                partial,
                ignore=shutil.ignore_patterns(MERGED),
                dirs_exist_ok=True,
            )
        if ollama:
            (partial / "Modelfile").write_text(modelfile(partial), encoding="utf-8")
        _give_rights(partial, folder if to.parent == folder else None)
        publish(partial, to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _give_rights(partial: Path, beside: Path | None) -> None:
    """All files have the same: those of the result ``beside``, else what the umask leaves."""
    if beside is not None:
        make_readable(partial, (beside / ADAPTER_NAME).stat().st_mode & 0o666)
        return
    os.umask(mask := os.umask(0))
    for path in (partial, *partial.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _write_merged(adapter: AskedModel, partial: Path) -> None:
    ids = adapter.tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    said = logits_of(adapter.model, ids)
    dtype = str(next(adapter.model.parameters()).dtype).removeprefix("torch.")
    merged: Any = adapter.model.merge_and_unload()
    round_weights(merged, dtype)
    apart = difference(said, logits_of(merged, ids))
    if not apart <= ROUGH:
        raise ModelError(
            f"Merged with its base model the adapter answers otherwise: its logits differ by "
            f"{apart:.2g} of their size.",
            "An adapter that trains embeddings that are the head too cannot be merged: use it as "
            "it is, with its base model.",
        )
    hold_as_saved(merged, dtype)
    accept_faults(merged)
    merged.save_pretrained(partial)
    adapter.tokenizer.save_pretrained(partial)
    say_dtype(partial, dtype_of_files(partial) or dtype)
    write_generation_config(merged, partial, adapter.ends)


def main() -> int:
    """Command line; what is wrong is one sentence on stderr."""
    parser = argparse.ArgumentParser(description="Write a result as a folder that loads by itself.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ollama", action="store_true", help="with a Modelfile")
    arguments = parser.parse_args()
    try:
        spec = GenerationSpec.model_validate_json(sys.stdin.read())
        write(spec, arguments.folder, ollama=arguments.ollama)
    except Exception as error:
        found = report(error)
        print(f"{found.message} {found.hint}".strip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
