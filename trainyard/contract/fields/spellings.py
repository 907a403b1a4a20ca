"""Spellings of a request's fields: the others are rewritten to the normalised one."""

from __future__ import annotations

from typing import Any

from trainyard.contract.config import LoraConfig
from trainyard.contract.request import FieldProblem

_SHOWN_CHARACTERS = 200
_TRAINER_NAMES = {
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "evaluation_strategy": "eval_strategy",
    "max_seq_length": "max_length",
}
_LORA_NAMES = {
    "lora_r": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "init_lora_weights": "init",
}
SPELLINGS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    *((("training", old), ("training", new)) for old, new in _TRAINER_NAMES.items()),
    (("data", "max_seq_length"), ("training", "max_length")),
    (("data", "max_length"), ("training", "max_length")),
    (("training", "train_on"), ("data", "train_on")),
    *((("lora", old), ("lora", new)) for old, new in _LORA_NAMES.items()),
    *((("training", old), ("lora", new)) for old, new in _LORA_NAMES.items()),
    (("training", "lora_target_modules"), ("lora", "target_modules")),
    (("training", "lora_bias"), ("lora", "bias")),
    (("evaluation", "eval_steps"), ("training", "eval_steps")),
    (("model", "dtype"), ("model", "torch_dtype")),
    (("tokenizer", "additional_special_tokens"), ("tokenizer", "add_special_tokens")),
    (("predictions", "sample_count"), ("predictions", "count")),
    (("predictions", "sample_frequency"), ("predictions", "frequency")),
    (("model", "quantization"), ("training", "quantization")),
)
"""Other spelling → normalised path, both below ``config``. Earlier rows win over later ones."""


def other_spellings() -> dict[str, list[str]]:
    """Normalised path → its other spellings, all below ``config``; for the documents."""
    found: dict[str, list[str]] = {}
    for given, normal in SPELLINGS:
        found.setdefault(dotted(normal), []).append(dotted(given))
    for name in LoraConfig.model_fields:
        old = next((old for old, new in _LORA_NAMES.items() if new == name), name)
        found.setdefault(f"lora.{name}", []).append(f"training.lora_config.{old}")
    return found


class Normaliser:
    """Rewrites one raw ``config`` to the normalised spelling, remembering who said what."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.spelled: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.notes: list[str] = []
        self.problems: list[FieldProblem] = []

    def run(self) -> None:
        if isinstance(self.config.get("lora"), str):
            self.config["lora"] = {"adapter": self.config["lora"]}
        for section in self.config.values():
            if isinstance(section, dict):  # null means: not set
                for key in [key for key, value in section.items() if value is None]:
                    del section[key]
        self._fold_lora_config()
        for given, normal in SPELLINGS:
            self._move(given, normal)
        training = self.config.get("training")
        if isinstance(training, dict):
            self._settle_warmup(training)

    def _section(self, name: str, *, make: bool = False) -> dict[str, Any] | None:
        section = self.config.get(name)
        if section is None and make:
            section = self.config[name] = {}
        return section if isinstance(section, dict) else None

    def _fold_lora_config(self) -> None:
        training = self._section("training")
        given: Any = None if training is None else training.pop("lora_config", None)
        if given is not None and not isinstance(given, dict):
            self.problems.append(
                FieldProblem(path="config.training.lora_config", message="should be an object")
            )
            return
        for key, value in (given or {}).items():
            name = str(_LORA_NAMES.get(key, key))
            self._put(("training", "lora_config", key), ("lora", name), value)

    def _move(self, given: tuple[str, ...], normal: tuple[str, ...]) -> None:
        section = self._section(given[0])
        if section is None or given[1] not in section or given == normal:
            return
        self._put(given, normal, section.pop(given[1]))

    def _put(self, given: tuple[str, ...], normal: tuple[str, ...], value: Any) -> None:
        target = self._section(normal[0], make=True)
        if target is None or value is None:
            return
        if target.get(normal[1]) is None:
            target[normal[1]] = value
            self.spelled[normal] = given
        elif target[normal[1]] != value:
            winner = dotted(("config", *self.spelled.get(normal, normal)))
            self.notes.append(
                f"{winner} = {_short(target[normal[1]])} wins over "
                f"{dotted(('config', *given))} = {_short(value)}"
            )

    def _settle_warmup(self, training: dict[str, Any]) -> None:
        steps, ratio = training.get("warmup_steps"), training.get("warmup_ratio")
        if isinstance(steps, int) and steps > 0 and ratio:
            training.pop("warmup_ratio")
            self.notes.append(
                f"config.training.warmup_steps = {steps} wins over "
                f"config.training.warmup_ratio = {ratio!r}"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)
