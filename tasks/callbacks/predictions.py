"""Predictions: what the model says to a few fixed prompts, at each eval or as often as asked.

They go into the job's log, its event stream and its folder.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from tasks.channel import Channel
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.render import chat_texts
from tasks.datasets.tokens.spans import IGNORED_LABEL
from tasks.datasets.training_data import TrainingData
from tasks.errors import ConfigurationError
from tasks.run import Run
from trainyard.contract.config import PredictionsConfig
from trainyard.contract.events import Prediction
from trainyard.contract.job_folder import PREDICTIONS
from trainyard.contract.names import PREDICTION_CHARACTERS_MAX

_TEXT_TOKENS = 32
"""Of a row of plain text so many tokens are the prompt."""
EVENTS_MAX = 1000
"""Of an attempt's predictions so many go into the event stream, which Redis holds in memory."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """Token ids of a prompt, and of the answer that its row has; None if it has none."""

    prompt: list[int]
    answer: list[int] | None = None


class Predictions(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
    """Generates greedily, so that no random number is drawn: a resume stays exact.

    For each sample a line of the log, an event, and a line of ``predictions.jsonl``.
    """

    def __init__(
        self,
        trainer: Any,
        channel: Channel,
        samples: list[Asked],
        asked: PredictionsConfig,
        job_dir: Path,
    ) -> None:
        self._trainer = trainer
        self._channel = channel
        self._sent = 0
        self._samples = samples
        self._asked = asked
        self._path = job_dir / PREDICTIONS

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Generate, if it is to be at each eval."""
        if self._asked.frequency == "eval":
            self._predict(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Generate, if it is to be after each epoch."""
        if self._asked.frequency == "epoch":
            self._predict(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Generate, if it is to be after this step."""
        if self._asked.frequency == "step" and state.global_step % self._asked.step_interval == 0:
            self._predict(state)

    def _predict(self, state: Any) -> None:
        """Generate, and say what came."""
        model = self._trainer.accelerator.unwrap_model(self._trainer.model)
        training, cached = model.training, model.config.use_cache
        model.eval()
        model.config.use_cache = True
        try:
            with self._path.open("a", encoding="utf-8") as file:
                for index, sample in enumerate(self._samples):
                    point = self._point(model, state, index, sample)
                    asked, said = point["prompt"], point["prediction"]
                    logger.info("step %d, asked %r: %r", state.global_step, asked, said)
                    file.write(json.dumps(point, ensure_ascii=False) + "\n")
                    self._send(point)
        finally:
            model.config.use_cache = cached
            model.train(training)

    def _point(self, model: Any, state: Any, index: int, sample: Asked) -> dict[str, Any]:
        since = time.perf_counter()
        said = self._answer(model, sample.prompt)
        latency_ms = round(1000 * (time.perf_counter() - since), 1)
        point = {
            "step": state.global_step,
            "epoch": state.epoch or 0.0,
            "sample_index": index,
            "prompt": self._text(sample.prompt),
            "prediction": self._text(said),
            "prompt_tokens": len(sample.prompt),
            "completion_tokens": len(said),
            "max_new_tokens": self._asked.max_new_tokens,
            "latency_ms": latency_ms,
        }
        truth = {} if sample.answer is None else {"ground_truth": self._text(sample.answer)}
        return point | truth

    def _text(self, ids: list[int]) -> str:
        return str(self._trainer.processing_class.decode(ids, skip_special_tokens=True))

    def _send(self, point: dict[str, Any]) -> None:
        self._sent += 1
        if self._sent > EVENTS_MAX:
            return
        most = PREDICTION_CHARACTERS_MAX
        texts = {name: text for name, text in point.items() if isinstance(text, str)}
        kept = {name: text[:most] for name, text in texts.items()}
        self._channel.send(Prediction(**point | kept, cut=kept != texts))
        if self._sent == EVENTS_MAX:
            logger.info("%d predictions are in the event stream: more go to the log", EVENTS_MAX)

    def _answer(self, model: Any, ids: list[int]) -> list[int]:
        asked = torch.tensor([ids], device=model.device)
        with torch.no_grad(), self._trainer.compute_loss_context_manager():
            given = model.generate(
                asked,
                attention_mask=torch.ones_like(asked),
                do_sample=False,
                num_beams=1,  # a model's own files may ask for thousands
                num_return_sequences=1,
                temperature=None,
                top_p=None,
                top_k=None,
                max_new_tokens=self._asked.max_new_tokens,
                pad_token_id=self._trainer.processing_class.pad_token_id,
            )
        return list(given[0, len(ids) :].tolist())


def add_predictions(run: Run, trainer: Any, data: TrainingData) -> None:
    """Add the callback if ``config.predictions`` asks for it."""
    asked = run.config.predictions
    if asked is not None and asked.enabled:
        samples = samples_of(asked, data, trainer.processing_class)
        trainer.add_callback(Predictions(trainer, run.channel, samples, asked, run.job_dir))


def samples_of(asked: PredictionsConfig, data: TrainingData, tokenizer: Any) -> list[Asked]:
    """The prompts: those asked for, else of the first eval (or training) rows."""
    if asked.prompts:
        chats = [[{"role": "user", "content": prompt}] for prompt in asked.prompts]
        return [Asked(_chat_ids(chat, tokenizer)) for chat in chats]
    rows = (data.eval or data.train).dataset
    chosen = [rows[index] for index in range(min(asked.count, len(rows)))]
    return [_sample_of(row, tokenizer) for row in chosen]


def _chat_ids(chat: list[dict[str, Any]], tokenizer: Any) -> list[int]:
    [text] = chat_texts(tokenizer, [chat], prompt=True)
    if isinstance(text, RowProblem):
        raise ConfigurationError(f"A prompt of config.predictions cannot be rendered: {text}.")
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _sample_of(row: dict[str, Any], tokenizer: Any) -> Asked:
    if "prompt_ids" in row:
        return Asked(list(row["prompt_ids"]))
    if "prompt" in row:
        prompt = row["prompt"]
        if isinstance(prompt, str):
            return Asked(list(tokenizer(prompt)["input_ids"]))
        return Asked(_chat_ids(prompt, tokenizer))
    ids, labels = list(row["input_ids"]), list(row["labels"])
    asked = next((n for n, label in enumerate(labels) if label != IGNORED_LABEL), len(ids))
    if asked <= 1:
        return Asked(ids[:_TEXT_TOKENS])
    end = next((n for n in range(asked, len(ids)) if labels[n] == IGNORED_LABEL), len(ids))
    return Asked(ids[:asked], ids[asked:end])
