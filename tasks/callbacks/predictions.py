"""Predictions: what the model says to a few fixed prompts at each eval.

They go into the job's log, its event stream and its folder.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from tasks.channel import Channel
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.render import chat_texts
from tasks.datasets.training_data import TrainingData
from tasks.errors import ConfigurationError
from tasks.run import Run
from trainyard.contract.config import PredictionsConfig
from trainyard.contract.events import Prediction
from trainyard.contract.job_folder import PREDICTIONS
from trainyard.contract.names import PREDICTION_CHARACTERS_MAX

_LABEL_IGNORED = -100
_TEXT_TOKENS = 32
"""Of a row of plain text so many tokens are the prompt."""
EVENTS_MAX = 1000
"""Of an attempt's predictions so many go into the event stream, which Redis holds in memory."""

logger = logging.getLogger(__name__)


class Predictions(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Generates greedily, so that no random number is drawn: a resume stays exact.

    ``prompts``: token ids. For each a line of the log, an event, and a line of
    ``predictions.jsonl``.
    """

    def __init__(
        self,
        trainer: Any,
        channel: Channel,
        prompts: list[list[int]],
        tokens: int,
        job_dir: Path,
    ) -> None:
        self._trainer = trainer
        self._channel = channel
        self._sent = 0
        self._prompts = prompts
        self._tokens = tokens
        self._path = job_dir / PREDICTIONS

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Generate, and say what came."""
        trainer = self._trainer
        tokenizer, model = (
            trainer.processing_class,
            trainer.accelerator.unwrap_model(trainer.model),
        )
        training, cached = model.training, model.config.use_cache
        model.eval()
        model.config.use_cache = True
        try:
            with self._path.open("a", encoding="utf-8") as file:
                for ids in self._prompts:
                    answer = self._answer(model, ids, tokenizer)
                    prompt = tokenizer.decode(ids, skip_special_tokens=True)
                    logger.info("step %d, asked %r: %r", state.global_step, prompt, answer)
                    point = {"step": state.global_step, "prompt": prompt, "prediction": answer}
                    file.write(json.dumps(point, ensure_ascii=False) + "\n")
                    self._send(state.global_step, prompt, answer)
        finally:
            model.config.use_cache = cached
            model.train(training)

    def _send(self, step: int, prompt: str, answer: str) -> None:
        self._sent += 1
        if self._sent > EVENTS_MAX:
            return
        most = PREDICTION_CHARACTERS_MAX
        cut = max(len(prompt), len(answer)) > most
        self._channel.send(
            Prediction(step=step, prompt=prompt[:most], prediction=answer[:most], cut=cut)
        )
        if self._sent == EVENTS_MAX:
            logger.info("%d predictions are in the event stream: more go to the log", EVENTS_MAX)

    def _answer(self, model: Any, ids: list[int], tokenizer: Any) -> str:
        asked = torch.tensor([ids], device=model.device)
        with torch.no_grad(), self._trainer.compute_loss_context_manager():
            given = model.generate(
                asked,
                attention_mask=torch.ones_like(asked),
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                max_new_tokens=self._tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        return str(tokenizer.decode(given[0, len(ids) :], skip_special_tokens=True))


def add_predictions(run: Run, trainer: Any, data: TrainingData) -> None:
    """Add the callback if ``config.predictions`` asks for it."""
    asked = run.config.predictions
    if asked is not None and asked.enabled:
        prompts, tokens = prompts_of(asked, data, trainer.processing_class), asked.max_new_tokens
        trainer.add_callback(Predictions(trainer, run.channel, prompts, tokens, run.job_dir))


def prompts_of(asked: PredictionsConfig, data: TrainingData, tokenizer: Any) -> list[list[int]]:
    """Token ids of the prompts: those asked for, else of the first eval (or training) rows."""
    if asked.prompts:
        chats = [[{"role": "user", "content": prompt}] for prompt in asked.prompts]
        return [_chat_ids(chat, tokenizer) for chat in chats]
    rows = (data.eval or data.train).dataset
    chosen = [rows[index] for index in range(min(asked.count, len(rows)))]
    return [_prompt_of(row, tokenizer) for row in chosen]


def _chat_ids(chat: list[dict[str, Any]], tokenizer: Any) -> list[int]:
    [text] = chat_texts(tokenizer, [chat], prompt=True)
    if isinstance(text, RowProblem):
        raise ConfigurationError(f"A prompt of config.predictions cannot be rendered: {text}.")
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _prompt_of(row: dict[str, Any], tokenizer: Any) -> list[int]:
    if "prompt_ids" in row:
        return list(row["prompt_ids"])
    if "prompt" in row:
        prompt = row["prompt"]
        if isinstance(prompt, str):
            return list(tokenizer(prompt)["input_ids"])
        return _chat_ids(prompt, tokenizer)
    ids, labels = list(row["input_ids"]), list(row["labels"])
    asked = next((n for n, label in enumerate(labels) if label != _LABEL_IGNORED), len(ids))
    return ids[:asked] if asked > 1 else ids[:_TEXT_TOKENS]
