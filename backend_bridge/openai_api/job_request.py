"""Start request of a fine-tuning: what OpenAI's words mean in ours."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from backend_bridge.openai_api.asked import (
    AskedMethod,
    Auto,
    CreateJob,
    Hyperparameters,
    Reinforcement,
    ReinforcementHyperparameters,
)
from backend_bridge.openai_api.errors import ApiRefusal
from backend_bridge.openai_api.files.store import StoredFile
from backend_bridge.openai_api.model_names import tuned_model
from trainyard.contract.config import RlhfConfig, TrainingConfig
from trainyard.contract.methods import REWARDS, method_of_openai
from trainyard.contract.request import RequestInvalid

_THEIR_NAMES = {
    "config.model.name": "model",
    "dataset_path": "training_file",
    "eval_dataset_path": "validation_file",
    "config.seed": "seed",
}
"""Of the fields that OpenAI's request has a word of its own for."""


def start_body(
    asked: CreateJob,
    job_id: str,
    seed: int,
    files: tuple[StoredFile, StoredFile | None],
    *,
    of_adapter: bool,
) -> dict[str, Any]:
    """The body of ``execute``, with a new token. ``of_adapter``: its model is one.

    Raises ApiRefusal if ``config`` says otherwise than the rest.
    """
    training_file, validation_file = files
    tuned = tuned_model(asked.model)
    ours: dict[str, Any] = {
        "model": {"name": tuned.reference if tuned else asked.model},
        "training": _training(asked),
        "seed": seed,
    }
    given = asked.config
    split = _part(given, "data")
    if validation_file is None and not {"train_split", "eval_split"} & split.keys():
        ours["data"] = {"eval_split": 0}  # OpenAI trains on every row
    if of_adapter and not given.get("lora"):
        ours["lora"] = {"adapter": "continue"}
        ours["training"]["use_lora"] = True
    return {
        "execution_id": job_id,
        "job_token": secrets.token_urlsafe(32),
        "name": asked.suffix or f"fine-tuning of {asked.model}"[:1000],
        "dataset_path": training_file.dataset_path,
        "eval_dataset_path": validation_file.dataset_path if validation_file else "",
        "config": _joined(given, ours, "config"),
    }


def refusal_of(error: RequestInvalid) -> ApiRefusal:
    """What is wrong with a start request, said of the request that it was made of."""
    path = error.problems[0].path
    return ApiRefusal(400, str(error), param=_THEIR_NAMES.get(path, path))


def hyperparameters_of(how: AskedMethod) -> Hyperparameters:
    """Those of the method's own part."""
    part = how.supervised or how.dpo or how.reinforcement
    return part.hyperparameters if part else Hyperparameters()


def _training(asked: CreateJob) -> dict[str, Any]:
    how, given = asked.how, _part(asked.config, "training")
    values = hyperparameters_of(how)
    made: dict[str, Any] = {"method": method_of_openai(how.type)}
    if how.reinforcement is not None:
        made |= _of_rewards(how.reinforcement, given)
    elif not _is_auto(values.batch_size):
        made["batch_size"] = values.batch_size
    if not _is_auto(values.n_epochs):
        made["num_epochs"] = values.n_epochs
    if how.dpo is not None and not _is_auto(how.dpo.hyperparameters.beta):
        made["beta"] = how.dpo.hyperparameters.beta
    return made


def _of_rewards(part: Reinforcement, given: Mapping[str, Any]) -> dict[str, Any]:
    """A batch counts prompts there, and their answers here."""
    values: ReinforcementHyperparameters = part.hyperparameters
    answers = _part(given, REWARDS).get("num_generations", RlhfConfig().num_generations)
    made: dict[str, Any] = {REWARDS: part.grader.model_dump(exclude={"type"}, exclude_none=True)}
    if isinstance(values.batch_size, int) and isinstance(answers, int):
        made["batch_size"] = values.batch_size * answers
    if not _is_auto(values.eval_interval):
        made |= {"eval_strategy": "steps", "eval_steps": values.eval_interval}
    return made


def _part(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Of what is no object nothing is known: whoever joins or parses it refuses it."""
    part = given.get(name)
    return part if isinstance(part, Mapping) else {}


def _is_auto(value: Auto | float) -> bool:
    return value == "auto"


def _joined(given: Mapping[str, Any], ours: Mapping[str, Any], path: str) -> dict[str, Any]:
    """``given`` with ``ours``; two values for one field are refused."""
    made = dict(given)
    for name, value in ours.items():
        there, where = made.get(name), f"{path}.{name}"
        if isinstance(value, Mapping) and isinstance(there, Mapping | None):
            made[name] = _joined(there or {}, value, where)
        elif there not in (None, value):
            raise ApiRefusal(
                400, f"{where} says otherwise than the rest of the request", param=where
            )
        else:
            made[name] = value
    return made


def with_rate(body: dict[str, Any], multiplier: Auto | float) -> dict[str, Any]:
    """The body with its learning rate, or the default one, so many times as large."""
    training = body["config"]["training"]
    rate = training.get("learning_rate", TrainingConfig().learning_rate)
    if not isinstance(multiplier, str) and isinstance(rate, int | float):
        try:
            training["learning_rate"] = rate * multiplier
        except OverflowError:
            param = "config.training.learning_rate"
            raise ApiRefusal(400, f"{param} is too large", param=param) from None
    return body
