"""Requests for a chat completion, as OpenAI's clients make them, and the question that each is."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    field_validator,
)

from backend_bridge.openai_api.errors import ApiRefusal
from backend_bridge.openai_api.model_names import TunedModel
from trainyard.contract.generation.messages import GenerateBody

_TOKENS_MAX_DEFAULT = 1024
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "stop": ([], ""),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}
"""Fields that nothing here does, with the values that ask for nothing; null is one of each."""
_ABOUT_THE_ASKER = (
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
    *("parallel_tool_calls",),
)
"""Fields that change no answer."""


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn. Others' roles and parts are refused."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["developer", "system", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    refusal: None = None

    def turn(self) -> dict[str, str]:
        """As a question has it."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    """``stream_options``."""

    include_usage: StrictBool | None = None
    include_obfuscation: Literal[False] | None = None


class ChatBody(BaseModel):
    """Body of ``POST /v1/chat/completions``."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    model: Annotated[str, Field(max_length=1000)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=200)]
    max_tokens: StrictInt | None = None
    max_completion_tokens: StrictInt | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: StrictInt | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None

    @field_validator("temperature", mode="before")
    @classmethod
    def _no_bool(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("should be a number")
        return value

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def question(self, of: TunedModel) -> GenerateBody:
        """What the model is asked. Raises ApiRefusal for what cannot be done."""
        for name, value in (self.model_extra or {}).items():
            known = name in _NEUTRAL
            if name in _ABOUT_THE_ASKER or value is None or (known and value in _NEUTRAL[name]):
                continue
            what = "cannot be done here" if known else "means nothing here"
            raise ApiRefusal(400, f"{name} {what}: leave it out", param=name)
        given = (self.max_completion_tokens, self.max_tokens)
        asked = next((value for value in given if value is not None), _TOKENS_MAX_DEFAULT)
        try:
            return GenerateBody(
                messages=[message.turn() for message in self.messages],  # type: ignore[misc]
                checkpoint=of.checkpoint,
                max_tokens=asked,
                temperature=1.0 if self.temperature is None else self.temperature,
                seed=secrets.randbelow(2**32) if self.seed is None else self.seed % 2**32,
            )
        except ValidationError as error:
            first = error.errors()[0]
            param = str(first["loc"][0]) if first["loc"] else "messages"
            raise ApiRefusal(400, f"{param}: {first['msg']}", param=param) from None
