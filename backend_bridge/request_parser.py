"""Reads a start request in any of its spellings into the contract's models.

Whatever comes in, :func:`parse_request` returns a StartRequest or raises RequestInvalid with every
wrong field, as the caller spelled it. No secret passes into what is stored or said.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from backend_bridge.contract import (
    JOB_ID_RULE,
    FieldProblem,
    LoraConfig,
    RequestInvalid,
    StartRequest,
)
from backend_bridge.meant_fields import ignored_fields

_TRAINER_NAMES = {
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "evaluation_strategy": "eval_strategy",
    "max_seq_length": "max_length",
}
_LORA_NAMES = {"lora_r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout"}
_SPELLINGS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    *((("training", old), ("training", new)) for old, new in _TRAINER_NAMES.items()),
    (("data", "max_seq_length"), ("training", "max_length")),
    (("data", "max_length"), ("training", "max_length")),
    *((("lora", old), ("lora", new)) for old, new in _LORA_NAMES.items()),
    *((("training", old), ("lora", new)) for old, new in _LORA_NAMES.items()),
    (("training", "lora_target_modules"), ("lora", "target_modules")),
    (("training", "lora_bias"), ("lora", "bias")),
    (("evaluation", "eval_steps"), ("training", "eval_steps")),
    (("model", "dtype"), ("model", "torch_dtype")),
)
"""Other spelling → normalised path, both below ``config``. Earlier rows win over later ones."""


def other_spellings() -> dict[str, list[str]]:
    """Normalised path → its other spellings, all below ``config``; for the documents."""
    found: dict[str, list[str]] = {}
    for given, normal in _SPELLINGS:
        found.setdefault(_dotted(normal), []).append(_dotted(given))
    for name in LoraConfig.model_fields:
        old = next((old for old, new in _LORA_NAMES.items() if new == name), name)
        found.setdefault(f"lora.{name}", []).append(f"training.lora_config.{old}")
    return found


_SECRET_KEY = re.compile(
    r"(^|_)(api_?key|private_?key|password|passwd|secret|credentials?|bearer|authorization|"
    r"(access|auth|hf|hub|huggingface|job|api|session|refresh|backend|id)_?token)($|_)|^token$",
    re.IGNORECASE,
)
_OWN_SECRETS = ("job_token", "access_token")
VISIBLE_ASCII = r"[\x21-\x7e]+"
"""What an Authorization header can carry."""
SECRET_MIN = 8
"""A shorter token is looked for in no other field: it would be found in words."""
_REPEATED = "holds a token of this request: not stored"
NESTING_MAX = 32
PROBLEMS_MAX = 100


class _Normaliser:
    """Rewrites one raw ``config`` to the normalised spelling, remembering who said what."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.spelled: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.notes: list[str] = []
        self.problems: list[FieldProblem] = []

    def run(self) -> None:
        for section in self.config.values():
            if isinstance(section, dict):  # null means: not set
                for key in [key for key, value in section.items() if value is None]:
                    del section[key]
        self._fold_lora_config()
        for given, normal in _SPELLINGS:
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
            winner = _dotted(("config", *self.spelled.get(normal, normal)))
            self.notes.append(
                f"{winner} = {target[normal[1]]!r} wins over "
                f"{_dotted(('config', *given))} = {value!r}"
            )

    def _settle_warmup(self, training: dict[str, Any]) -> None:
        steps, ratio = training.get("warmup_steps"), training.get("warmup_ratio")
        if isinstance(steps, int) and steps > 0 and ratio:
            training.pop("warmup_ratio")
            self.notes.append(
                f"config.training.warmup_steps = {steps} wins over "
                f"config.training.warmup_ratio = {ratio!r}"
            )


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


class _Copier:
    """Copies a decoded JSON body without its secrets, naming what JSON or UTF-8 cannot hold."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = secrets
        self.dropped: list[str] = []
        self.problems: list[FieldProblem] = []

    def copy(self, value: Any, path: tuple[str, ...] = ()) -> Any:
        if len(path) > NESTING_MAX:
            return self._refuse(path[:2], f"is nested deeper than {NESTING_MAX} levels")
        if isinstance(value, Mapping):
            return self._copy_object(value, path)
        if isinstance(value, list):
            return self._copy_list(value, path)
        if isinstance(value, str) and not _is_unicode(value):
            return self._refuse(path, "has half of a surrogate pair, which is no character")
        if isinstance(value, float) and not math.isfinite(value):
            return self._refuse(path, "should be a finite number")
        return value

    def _copy_list(self, value: list[Any], path: tuple[str, ...]) -> list[Any]:
        kept = []
        for i, inner in enumerate(value):
            here = (*path, str(i))
            if self._holds_token(inner):
                self.dropped.append(f"{_dotted(here)} ({_REPEATED})")
            else:
                kept.append(self.copy(inner, here))
        return kept

    def _holds_token(self, value: Any) -> bool:
        return isinstance(value, str) and any(secret in value for secret in self._secrets)

    def _copy_object(self, value: Mapping[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
        kept = {}
        for key, inner in value.items():
            here = (*path, str(key))
            if not _is_unicode(here[-1]):
                self._refuse(path, "has a name with half of a surrogate pair")
            elif here[0] in _OWN_SECRETS and not path:
                kept[here[0]] = inner
            elif self._holds_token(here[-1]):
                self.dropped.append(f"{_dotted(path) or 'body'}: a field's name {_REPEATED}")
            elif self._holds_token(inner):
                self.dropped.append(f"{_dotted(here)} ({_REPEATED})")
            elif inner and isinstance(inner, str | list | dict) and _SECRET_KEY.search(here[-1]):
                self.dropped.append(f"{_dotted(here)} (looks like a secret: not stored)")
            else:
                kept[here[-1]] = self.copy(inner, here)
        return kept

    def _refuse(self, path: tuple[str, ...], message: str) -> None:
        self.problems.append(FieldProblem(path=_dotted(path) or "body", message=message))


def _own_secrets(body: Mapping[Any, Any]) -> list[str]:
    """The tokens of the request, which no other field may carry into the job store."""
    values = (body.get(name) for name in _OWN_SECRETS)
    return [value for value in values if isinstance(value, str) and len(value) >= SECRET_MIN]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _problems(error: ValidationError, spelled: Mapping[tuple[str, ...], tuple[str, ...]]) -> Any:
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        loc = tuple(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "model_type":
            message = "should be an object"
        if loc[:3] == ("config", "lora", "target_modules"):
            loc, message = loc[:3], "should be a name or a list of names"
        if loc[:1] == ("config",) and loc[1:3] in spelled:
            loc = ("config", *spelled[loc[1:3]], *loc[3:])
        if loc == ("execution_id",):
            message = JOB_ID_RULE
        elif loc == ("job_token",):
            message = "required: without it no report of this job could reach the backend"
        yield FieldProblem(path=_dotted(loc), message=message[:1].lower() + message[1:])


def _distinct(problems: list[FieldProblem]) -> list[FieldProblem]:
    """The first problem of each field, and no more of them than a person can read."""
    distinct = list({p.path: p for p in reversed(problems)}.values())[::-1]
    if len(distinct) > PROBLEMS_MAX:
        more = f"{len(distinct) - PROBLEMS_MAX} more fields are wrong"
        distinct[PROBLEMS_MAX:] = [FieldProblem(path="body", message=more)]
    return distinct


def parse_request(body: Any) -> StartRequest:
    """Read a start request in any of its spellings.

    ``body`` is the decoded JSON of ``POST /api/training/execute``; it is not changed. Where it
    names no ``execution_id``, one is made. Raises RequestInvalid with every wrong field.
    """
    if not isinstance(body, Mapping):
        raise RequestInvalid([FieldProblem(path="body", message="should be a JSON object")])
    copier = _Copier(_own_secrets(body))
    raw = copier.copy(body)
    raw.setdefault("config", None)
    normaliser = _Normaliser(raw["config"] if isinstance(raw["config"], dict) else {})
    normaliser.run()
    raw["ignored"], raw["notes"] = [], []
    if raw.get("execution_id") is None:
        raw["execution_id"] = f"job-{secrets.token_hex(8)}"
    if raw.get("dataset_path") is None:
        raw["dataset_path"] = ""

    problems = [*copier.problems, *normaliser.problems]
    request = None
    try:
        request = StartRequest.model_validate(raw)
    except ValidationError as error:
        problems.extend(_problems(error, normaliser.spelled))
    token = raw.get("job_token")
    if isinstance(token, str) and not re.fullmatch(VISIBLE_ASCII, token):
        message = "should be visible ASCII, without spaces" if token else "should not be empty"
        problems.append(FieldProblem(path="job_token", message=message))
    inner_path = raw["config"].get("dataset_path") if isinstance(raw["config"], dict) else None
    if not raw["dataset_path"] and not raw.get("dataset_content") and not inner_path:
        problems.append(
            FieldProblem(path="dataset_path", message="required where there is no dataset_content")
        )
    if problems or request is None:
        raise RequestInvalid(_distinct(problems))

    request.ignored = ignored_fields(request, [given for given, _ in _SPELLINGS]) + copier.dropped
    request.notes = normaliser.notes
    if not request.dataset_path and not request.dataset_content:
        request.dataset_path = inner_path or ""
    if request.config.lora is None and request.config.training.use_lora:
        request.config.lora = LoraConfig()
    return request
