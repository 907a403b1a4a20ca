"""Generations: what a person asks a trained model, and what comes back, piece by piece."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainyard.contract.events import TrainingSpec
from trainyard.contract.job_folder import CHECKPOINT_PATTERN

PROMPT_CHARACTERS_MAX = 100_000
"""Of a prompt, or of all messages together."""
NEW_TOKENS_MAX = 4096
CANCEL = "cancel"
"""The line that ends an answer before its end."""

Role = Literal["system", "user", "assistant"]
Reason = Literal["stop", "length", "deadline", "cancelled"]


class ChatMessage(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    content: Annotated[str, Field(max_length=PROMPT_CHARACTERS_MAX)]


class GenerateBody(BaseModel):
    """A ``prompt``, which is one user's turn (of a model of documents: their beginning), or the
    ``messages`` of a conversation.

    ``base``: the model as it was before the training. ``checkpoint``: that one's weights, as
    ``checkpoints/checkpoint-N``, not the result's. ``temperature`` 0: the likeliest token always.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompt: Annotated[str, Field(max_length=PROMPT_CHARACTERS_MAX)] = ""
    messages: Annotated[list[ChatMessage], Field(max_length=200)] = []
    base: bool = False
    checkpoint: Annotated[str, Field(pattern=f"^({CHECKPOINT_PATTERN})?$")] = ""
    max_tokens: Annotated[int, Field(ge=1, le=NEW_TOKENS_MAX)] = 256
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _is_one_question(self) -> GenerateBody:
        if bool(self.prompt) == bool(self.messages):
            raise ValueError("give a prompt or messages, one of the two")
        if self.base and self.checkpoint:
            raise ValueError("base is the model without any training: leave checkpoint out")
        if sum(len(m.content) for m in self.messages) > PROMPT_CHARACTERS_MAX:
            raise ValueError(f"all messages together have {PROMPT_CHARACTERS_MAX} characters most")
        return self


class AskedOfJob(BaseModel):
    """What waits for a slot: the job, its attempt (a new one makes another model), the question.

    ``slot``: the only one that may take it, since it sees the job's files; None: any.
    """

    job_id: str
    attempt: int
    slot: str | None = None
    question: GenerateBody


class GenerationSpec(BaseModel):
    """One line to the process that generates; ``job``: where its files and base model lie."""

    asked: AskedOfJob
    job: TrainingSpec


class InQueue(BaseModel):
    """``position`` 1 is the next. ``behind``: the jobs that hold the slots now; ``slots`` 0: no
    worker is there. ``makes_way``: the job that pauses at its next step for it, "" for none."""

    kind: Literal["waiting"] = "waiting"
    position: int
    behind: list[str] = []
    slots: int
    makes_way: str = ""


class Loading(BaseModel):
    """A slot has taken it. ``loaded``: the model was there from before."""

    kind: Literal["loading"] = "loading"
    loaded: bool


class TextPiece(BaseModel):
    """More of the answer."""

    kind: Literal["text"] = "text"
    text: str


class Done(BaseModel):
    """The answer has ended: at the model's own ``stop``, or for another ``reason``."""

    kind: Literal["done"] = "done"
    reason: Reason
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class NotGenerated(BaseModel):
    """Nothing more comes, and why."""

    kind: Literal["failed"] = "failed"
    error: str
    hint: str = ""


Said = Annotated[InQueue | Loading | TextPiece | Done | NotGenerated, Field(discriminator="kind")]
