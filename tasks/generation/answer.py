"""Answer of a loaded model: through the chat template, piece by piece, to its end or a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from pydantic import BaseModel
from transformers import (
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.render import chat_texts
from tasks.errors import ConfigurationError
from tasks.generation.loaded import AskedModel, load
from tasks.out_of_memory import free_memory
from trainyard.contract.generation.messages import (
    Done,
    GenerateBody,
    GenerationSpec,
    Loading,
    Reason,
    TextPiece,
)

ANSWER_MAX_S = 120.0

Say = Callable[[BaseModel], None]
Key = tuple[str, int, str]


class Answers:
    """Answers questions one after the other, and keeps the last model loaded."""

    def __init__(self, say: Say, is_cancelled: Callable[[], bool]) -> None:
        self._say = say
        self._is_cancelled = is_cancelled
        self._key: Key | None = None
        self._loaded: AskedModel | None = None

    def answer(self, spec: GenerationSpec) -> None:
        """Load what is asked for if it is another model, and answer. Raises TrainingError."""
        question, loaded = spec.asked.question, self._model_of(spec)
        ids = token_ids(question, loaded)
        room = question.max_tokens
        if loaded.places is not None:
            room = min(room, loaded.places - len(ids))
        if room < 1:
            raise ConfigurationError(
                f"The question has {len(ids)} tokens, and the model has places for "
                f"{loaded.places}, its answer included.",
                "Ask less.",
            )
        without_adapter = question.base and loaded.holds_base
        with loaded.model.disable_adapter() if without_adapter else nullcontext():
            self._generate(loaded, ids, room, question)

    def forget(self) -> None:
        """Let go of the model."""
        self._key = self._loaded = None
        free_memory()

    def _model_of(self, spec: GenerationSpec) -> AskedModel:
        asked, question = spec.asked, spec.asked.question
        key = (asked.job_id, asked.attempt, "base" if question.base else question.checkpoint)
        same_job = self._key is not None and self._key[:2] == key[:2]
        fits = key == self._key or (
            question.base and same_job and self._loaded is not None and self._loaded.holds_base
        )
        self._say(Loading(loaded=fits))
        if fits and self._loaded is not None:
            return self._loaded
        self.forget()
        self._loaded = load(spec)
        self._key = key
        return self._loaded

    def _generate(
        self, loaded: AskedModel, ids: list[int], room: int, question: GenerateBody
    ) -> None:
        asked = torch.tensor([ids], device=loaded.model.device)
        bounds = _Bounds(self._is_cancelled)
        samples = question.temperature > 0
        torch.manual_seed(question.seed)
        how = GenerationConfig(
            max_new_tokens=room,
            do_sample=samples,
            **({"temperature": question.temperature} if samples else {}),
            eos_token_id=list(loaded.ends),
            pad_token_id=loaded.tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            given = loaded.model.generate(
                input_ids=asked,
                attention_mask=torch.ones_like(asked),
                generation_config=how,
                stopping_criteria=StoppingCriteriaList([bounds]),
                streamer=_Pieces(loaded.tokenizer, self._say),
            )[0, len(ids) :].tolist()
        reason: Reason = bounds.reason or "length"
        if given and given[-1] in loaded.ends:
            reason = "stop"
        self._say(
            Done(
                reason=reason,
                prompt_tokens=len(ids),
                completion_tokens=len(given),
                seconds=round(bounds.seconds, 3),
            )
        )


class _Bounds(StoppingCriteria):  # type: ignore[misc]  # transformers is not type-checked here
    """Ends an answer that takes too long, or that nobody waits for any more."""

    def __init__(self, is_cancelled: Callable[[], bool]) -> None:
        self.reason: Reason | None = None
        self._is_cancelled = is_cancelled
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        if self._is_cancelled():
            self.reason = "cancelled"
        elif self.seconds > ANSWER_MAX_S:
            self.reason = "deadline"
        return torch.full((input_ids.shape[0],), self.reason is not None, device=input_ids.device)


class _Pieces(TextStreamer):  # type: ignore[misc]  # as above
    """Says whole words as they come."""

    def __init__(self, tokenizer: Any, say: Say) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._say = say

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._say(TextPiece(text=text))


def token_ids(question: GenerateBody, loaded: AskedModel) -> list[int]:
    """The question as the model was trained to read it. Raises ConfigurationError."""
    if question.prompt and not loaded.is_chat:
        return list(loaded.tokenizer(question.prompt)["input_ids"])
    chat = [turn.model_dump() for turn in question.messages]
    if question.prompt:
        chat = [{"role": "user", "content": question.prompt}]
    [text] = chat_texts(loaded.tokenizer, [chat], prompt=True)
    if isinstance(text, RowProblem):
        raise ConfigurationError(f"The chat template cannot render the question: {text}.")
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
