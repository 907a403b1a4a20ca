"""Files of a result: written beside their place, readable like all others, published whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.checkpoints.disk import full_disk
from tasks.checkpoints.folder import PICKLED_ARGUMENTS_NAME, exchange
from tasks.models.end_tokens import GENERATION_NAME, with_end_tokens
from tasks.models.origin import ADAPTER_NAME
from tasks.results.joined import join
from trainyard.contract.config import ModelConfig
from trainyard.durable_files import sync

CARD_NAME = "README.md"


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Around what writes into ``folder``; a full disk takes it away. Raises DiskTooSmall."""
    try:
        yield
    except Exception as error:
        full = full_disk(error, folder)
        shutil.rmtree(folder, ignore_errors=True)
        if full is None:
            raise
        raise full from error


def write_model(
    trainer: Any,
    folder: Path,
    base: ModelConfig,
    ends: Sequence[int],
    *,
    below: Path | None = None,
) -> None:
    """Write the trained model (or PEFT adapter) and its tokenizer. It stops at the tokens ``ends``.

    An adapter names its ``base`` as the request does. ``below``: the adapter that was merged with
    the base before, which goes into this one.
    """
    trainer.save_model(str(folder))
    (folder / PICKLED_ARGUMENTS_NAME).unlink(missing_ok=True)
    if (folder / ADAPTER_NAME).exists():
        _name_base(folder / ADAPTER_NAME, base)
        if below is not None:
            join(folder, below)
    write_generation_config(trainer.accelerator.unwrap_model(trainer.model), folder, ends)


def write_generation_config(model: Any, folder: Path, ends: Sequence[int]) -> None:
    """Let generation_config.json say where to stop; beside an adapter PEFT has written none.

    As JSON: transformers writes no configuration that was changed and that it finds fault with, and
    base models come with such.
    """
    path = folder / GENERATION_NAME
    if getattr(model, "generation_config", None) is None:  # it generates nothing
        return
    if not path.exists():
        model.generation_config.to_json_file(path, keys_to_pop=["compile_config"])
    said = json.loads(path.read_bytes())
    made = {**said, "eos_token_id": with_end_tokens(said.get("eos_token_id"), ends)}
    path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def _name_base(path: Path, base: ModelConfig) -> None:
    """PEFT writes where the base model lay in this worker's folders or cache."""
    config = json.loads(path.read_bytes())
    config |= {"base_model_name_or_path": base.name, "revision": base.revision}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def make_readable(folder: Path, mode: int) -> None:
    """Give every file of ``folder``, which lies in the job's, the rights ``mode``.

    Whoever serves the model is often another user. Its group finds a way through the folders of
    the job and of all jobs, in which it reads nothing else.
    """
    through = mode >> 2 & 0o111
    for path in (folder, *folder.rglob("*")):
        path.chmod(mode | through if path.is_dir() else mode)
    for above in (folder.parent, folder.parent.parent):
        if above.stat().st_mode & through != through:
            above.chmod(above.stat().st_mode & 0o7777 | through)


def publish(partial: Path, target: Path) -> None:
    """Put a whole result in its place, in one step also if there is one already: an attempt that
    ended before it was heard has left it."""
    for path in partial.rglob("*"):
        sync(path)
    sync(partial)
    if target.exists():
        exchange(partial, target)
        shutil.rmtree(partial)
    else:
        partial.rename(target)
    sync(target.parent)
