"""Refused fields: nothing here acts on them, and without them another model would be trained.

A field that only tells of something is named as ignored; one of these would be left out of what the
job means, so that the job is refused instead. Once a field is read it is taken from this table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.contract.config import JobConfig
from trainyard.contract.request import FieldProblem

_LOSS = "a training has one loss (config.training.loss_type), and losses are not mixed"
_RESUME = (
    "a new job begins with its base model: to go on from a checkpoint, resume the job that has it "
    "(POST /api/training/resume/JOB, with the checkpoint's path), or send its weights as "
    "config.model.name: job:JOB@checkpoint-N"
)
_QUANTIZATION = "send it as config.training.quantization, such as {'load_in_4bit': true}"
_LORA = "send it as config.lora.{}"
REFUSED: Mapping[str, str] = {
    "loss_weights": _LOSS,
    "checkpoint_resume": _RESUME,
    "resume_from_checkpoint": _RESUME,
    "load_in_4bit": _QUANTIZATION,
    "load_in_8bit": _QUANTIZATION,
    "quantization_config": _QUANTIZATION,
    "label_smoothing": "send it as config.training.label_smoothing_factor",
    "use_dora": _LORA.format("use_dora"),
    "use_rslora": _LORA.format("use_rslora"),
    "modules_to_save": _LORA.format("modules_to_save"),
    "init_lora_weights": _LORA.format("init"),
    "neftune_noise_alpha": "send it as config.training.neftune_noise_alpha",
    "additional_special_tokens": "send it as config.tokenizer.add_special_tokens",
    "add_tokens": "send it as config.tokenizer.add_tokens",
}
"""Name of a field, in whatever section it stands → why it is refused."""


def refused_fields(config: JobConfig) -> Iterator[FieldProblem]:
    """Every field of the table that ``config`` holds with a value that asks for something."""
    sections = {name: getattr(config, name) for name in type(config).model_fields}
    yield from _among(config.model_extra, "config")
    for name, section in sections.items():
        yield from _among(getattr(section, "model_extra", None), f"config.{name}")


def _among(extra: Mapping[str, Any] | None, path: str) -> Iterator[FieldProblem]:
    for name, value in (extra or {}).items():
        if name in REFUSED and value not in (None, False, 0, "", [], {}):
            yield FieldProblem(path=f"{path}.{name}", message=REFUSED[name])
