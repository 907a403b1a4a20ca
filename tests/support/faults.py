"""Faults that are put back into a training, each by its name: what the gates are there for."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _after_writing(change: Callable[[Path], None]) -> None:
    """Change the files of a result when they are written, before they are looked at."""
    from tasks.results import result

    write = result.write_model

    def write_and_change(trainer: Any, folder: Path, *rest: Any, **more: Any) -> None:
        write(trainer, folder, *rest, **more)
        change(folder)

    result.write_model = write_and_change


def _edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def _with_tensors(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def stops_elsewhere() -> None:
    """The token that ends an answer is not among those that end a generation."""
    from tasks.results import files

    files.with_end_tokens = lambda known, _: known


def stops_nowhere() -> None:
    """It says that it stops, and a generation does not: transformers asks another field."""
    from transformers import GenerationMixin

    generate = GenerationMixin.generate

    def generate_on(self: Any, *arguments: Any, **more: Any) -> Any:
        more["generation_config"].eos_token_id = more["generation_config"].bos_token_id or 0
        return generate(self, *arguments, **more)

    GenerationMixin.generate = generate_on


def lost_weight() -> None:
    """One weight is not written, and would be made up at random."""

    def lose(tensors: dict[str, Any]) -> None:
        del tensors["model.layers.1.mlp.down_proj.weight"]

    _after_writing(lambda folder: _with_tensors(folder / "model.safetensors", lose))


def lost_weights_file() -> None:
    """The file with the weights is missing."""
    _after_writing(lambda folder: (folder / "model.safetensors").unlink())


def stale_weights() -> None:
    """The weights of before the training are written."""

    def halve(tensors: dict[str, Any]) -> None:
        for tensor in tensors.values():
            tensor.mul_(0.5)

    _after_writing(lambda folder: _with_tensors(folder / "model.safetensors", halve))


def idle_adapter() -> None:
    """The adapter's second matrices are as before the training: zero."""

    def reset(tensors: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            if "lora_B" in name:
                tensor.zero_()

    _after_writing(lambda folder: _with_tensors(folder / "adapter_model.safetensors", reset))


def another_scale() -> None:
    """adapter_config.json says another alpha than was trained with."""
    _after_writing(lambda folder: _edited(folder / "adapter_config.json", lora_alpha=1))


def another_dtype() -> None:
    """The weights are written as they were trained, whatever is said."""
    from tasks.results import merge, result

    result.hold_as_saved = merge.hold_as_saved = lambda *_: None


def another_dtype_said() -> None:
    """config.json keeps the dtype of the training."""
    _after_writing(lambda folder: _edited(folder / "config.json", dtype="float32"))
    from tasks.results import result

    result.say_dtype = lambda *_: None


def lost_template() -> None:
    """The chat template is not written."""
    _after_writing(lambda folder: (folder / "chat_template.jinja").unlink())


def another_template() -> None:
    """The chat template is one that was not trained with."""
    _after_writing(
        lambda folder: (folder / "chat_template.jinja").write_text(
            "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
        )
    )


def merged_without_adapter() -> None:
    """The merged copy is the base model."""
    from peft.tuners.lora import LoraModel

    LoraModel.merge_and_unload = LoraModel.unload


def merged_written_wrong() -> None:
    """A weight of the merged copy is not written as it is."""
    from tasks.results import merge

    say = merge.say_dtype

    def spoil(tensors: dict[str, Any]) -> None:
        tensors["model.layers.0.mlp.up_proj.weight"].zero_()

    def say_and_spoil(folder: Path, dtype: str) -> None:
        say(folder, dtype)
        _with_tensors(folder / "model.safetensors", spoil)

    merge.say_dtype = say_and_spoil


def merged_without_check() -> None:
    """The merged copy is not compared with the adapter before it is rounded and written."""
    from tasks.results import merge

    merge.difference = lambda *_: 0.0


def strict_generation_config() -> None:
    """A generation configuration that the Trainer has changed has to be without fault."""
    from tasks.methods import exact_trainer

    exact_trainer.accept_faults = lambda _: None


def private_files() -> None:
    """Files are readable by their owner only, as safetensors writes them."""
    from tasks.results import result

    result.make_readable = lambda *_: None


def base_by_path() -> None:
    """The adapter names the folder in which the base model lay."""
    from tasks.results import files

    files._name_base = lambda *_: None


def not_verified() -> None:
    """The result is not looked at."""
    from tasks.results import result

    result.verify = lambda *_: None


def no_memory() -> None:
    """There is none to load the result again."""
    from tasks.results import reload

    def load(_: Any) -> Any:
        raise MemoryError

    reload.load = load


def no_time() -> None:
    """A model that takes longer to load than the job may wait for it."""
    from tasks.results import reload, verify

    verify.time_limit_s = lambda *_: 0.3
    reload.check = lambda _: time.sleep(60)


def kept_beside() -> None:
    """A result that was there is not replaced in one step."""
    from tasks.results import files

    def exchange(partial: Path, target: Path) -> None:
        shutil.rmtree(target)
        raise KeyboardInterrupt  # a crash in between

    files.exchange = exchange


FAULTS: dict[str, Callable[[], None]] = {
    name: value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and not name.startswith("_")
}
"""By their names: every function of this file that has no underscore before it."""
