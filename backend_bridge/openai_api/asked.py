"""Requests for a fine-tuning, as OpenAI's clients make them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

from trainyard.contract.config import Reward
from trainyard.contract.methods import OpenAiName

Auto = Literal["auto"]
_METADATA_MAX = 16
EpochCount = Auto | Annotated[StrictInt, Field(ge=1, le=10_000)]
BatchSize = Auto | Annotated[StrictInt, Field(ge=1, le=65_536)]
Positive = Auto | Annotated[float, Field(gt=0, le=1_000_000)]


class AskedPart(BaseModel):
    """Base of the parts of a request: what is not known is refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Hyperparameters(AskedPart):
    """Those of every method."""

    n_epochs: EpochCount = "auto"
    batch_size: BatchSize = "auto"
    learning_rate_multiplier: Positive = "auto"


class DpoHyperparameters(Hyperparameters):
    """``beta``: of the loss."""

    beta: Positive = "auto"


class ReinforcementHyperparameters(Hyperparameters):
    """``eval_interval``: steps. What has no counterpart here may be left to us only."""

    eval_interval: Auto | Annotated[StrictInt, Field(ge=1)] = "auto"
    eval_samples: Auto = "auto"
    compute_multiplier: Auto = "auto"
    reasoning_effort: Literal["default"] = "default"


class Rewards(AskedPart):
    """A grader of this yard: built-in functions, a reward model, or both."""

    type: Literal["trainyard"]
    reward_functions: list[Reward] = []
    reward_model: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _rewards(self) -> Rewards:
        if not self.reward_functions and self.reward_model is None:
            raise ValueError("name reward_functions (answer, format, brevity) or a reward_model")
        return self


class Supervised(AskedPart):
    """``method.supervised``."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Dpo(AskedPart):
    """``method.dpo``."""

    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class Reinforcement(AskedPart):
    """``method.reinforcement``."""

    grader: Rewards
    hyperparameters: ReinforcementHyperparameters = ReinforcementHyperparameters()

    @field_validator("grader", mode="before")
    @classmethod
    def _of_ours(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if kind != "trainyard":
            raise ValueError(
                f"graders of the type {str(kind)[:40]!r} cannot be run here: send "
                '{"type": "trainyard", "reward_functions": ["answer"]} (answer, format, brevity) '
                "or a reward_model"
            )
        return value


class AskedMethod(AskedPart):
    """``method``: one of three, with its own part."""

    type: OpenAiName
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None

    @model_validator(mode="after")
    def _has_its_part(self) -> AskedMethod:
        for name in get_args(OpenAiName):
            if name != self.type and getattr(self, name) is not None:
                raise ValueError(f"{name} is of another method than {self.type}: leave it out")
        if self.type == "reinforcement" and self.reinforcement is None:
            raise ValueError("reinforcement needs a grader")
        return self


class CreateJob(AskedPart):
    """Body of ``POST /v1/fine_tuning/jobs``.

    ``config`` is ours (``extra_body`` of the clients): what OpenAI's request has no word for, as
    ``config`` of a start request has it.
    """

    model: Annotated[str, Field(min_length=1, max_length=1000)]
    training_file: Annotated[str, Field(max_length=200)]
    validation_file: Annotated[str, Field(max_length=200)] | None = None
    method: AskedMethod | None = None
    hyperparameters: Hyperparameters | None = None
    suffix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] | None = None
    metadata: (
        dict[
            Annotated[str, Field(min_length=1, max_length=64)],
            Annotated[str, Field(max_length=512)],
        ]
        | None
    ) = None
    integrations: list[Any] | None = None
    config: dict[str, Any] = {}

    @field_validator("metadata")
    @classmethod
    def _not_too_much(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is not None and len(value) > _METADATA_MAX:
            raise ValueError(f"should have {_METADATA_MAX} pairs at most")
        return value

    @field_validator("integrations")
    @classmethod
    def _none(cls, value: list[Any] | None) -> None:
        if value:
            raise ValueError("there are none here: leave it out, and see docs/how-to/webhook.md")

    @model_validator(mode="after")
    def _one_way(self) -> CreateJob:
        if self.method is not None and self.hyperparameters is not None:
            raise ValueError("hyperparameters belong into method: leave one of the two out")
        return self

    @property
    def how(self) -> AskedMethod:
        """The method; ``hyperparameters`` beside it, the older way, are of a supervised one."""
        if self.method is not None:
            return self.method
        given = self.hyperparameters or Hyperparameters()
        return AskedMethod(type="supervised", supervised=Supervised(hyperparameters=given))
