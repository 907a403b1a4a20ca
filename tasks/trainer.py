"""One fine-tuning attempt, from its request to the saved model. Reads top to bottom."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import transformers
from transformers import PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer

from backend_bridge.contract import JobConfig, Outcome, Phase, TrainingRequest, TrainingSpec
from tasks import artifacts, checkpoints, models
from tasks.callbacks import CheckpointKeeper, Control, Reporter, perplexity
from tasks.channel import Channel
from tasks.datasets.prepare import TrainingData, prepare_data
from tasks.errors import ConfigurationError, Stopped
from tasks.gpu_figures import GpuFigures
from tasks.machine import Machine
from tasks.training_arguments import (
    Arguments,
    Context,
    build_arguments,
    check_method,
    choose_max_length,
)

CHECKPOINTS_DIR_NAME = "checkpoints"
FIRST_EVAL_SHARE = 0.1
"""The eval before the training is made where it costs at most this share of the training."""
_BACKWARD_COST = 2.0
"""A backward pass costs about two forward passes."""

logger = logging.getLogger(__name__)


class Phases:
    """Times the phases of an attempt and reports each as it ends; a cancel ends it between two."""

    def __init__(self, channel: Channel, seconds: dict[str, float]) -> None:
        self._channel = channel
        self.seconds = seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the body under ``name``. Raises Stopped where a cancel was asked for."""
        self._channel.raise_if_cancelled()
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 3)
        self._channel.send(Phase(name=name, seconds=self.seconds[name]))


class Trainer(SFTTrainer):  # type: ignore[misc]  # trl is not type-checked here
    """TRL's trainer without the model card that it writes at each checkpoint."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write nothing."""


@dataclass(frozen=True)
class Folders:
    """Where the model and the tokenizer lie, and whether code beside them may run."""

    model: Path
    tokenizer: Path
    remote_code: bool


def train(
    spec: TrainingSpec, request: TrainingRequest, channel: Channel, seconds: dict[str, float]
) -> Outcome:
    """Run the attempt. ``seconds`` holds the phases before it, by name.

    Returns the outcome ``completed`` or ``paused``. Raises TrainingError, Stopped at a cancel,
    or whatever the libraries raise.
    """
    config, phases, job_dir = request.config, Phases(channel, seconds), Path(spec.job_dir)
    quiet_libraries()
    check_method(config)
    machine = Machine.here()
    log_start(spec, request, machine)
    set_seed(config.seed)

    with phases.phase("tokenizer"):
        folders = locate(spec, config)
        model_config = models.load_config(folders.model, config.model.name, folders.remote_code)
        tokenizer = models.load_tokenizer(folders.tokenizer, config, folders.remote_code)
    max_length, note = choose_max_length(
        config, getattr(model_config.get_text_config(), "max_position_embeddings", None)
    )

    with phases.phase("data"):
        data = prepare_data(
            request,
            spec,
            tokenizer,
            max_length=max_length,
            add_eos=config.tokenizer.add_eos_token is not False,
        )

    resume = checkpoints.last_good(job_dir / CHECKPOINTS_DIR_NAME)
    context = Context(config, machine, max_length, data.eval is not None, [note] if note else [])
    arguments = build_arguments(
        context,
        output_dir=str(job_dir / CHECKPOINTS_DIR_NAME),
        eval_on_start=resume is None and first_eval_is_cheap(data, config),
    )
    for said in arguments.notes:
        logger.warning("%s", said)

    with phases.phase("load_model"):
        model = models.load_model(
            folders.model,
            config,
            dtype=arguments.model_dtype,
            quantization=arguments.quantization,
            trust_remote_code=folders.remote_code,
        )
        models.check_vocabulary(model, tokenizer, config.model.name)

    figures = GpuFigures()
    reporter = Reporter(channel, len(data.train.dataset), figures.latest)
    control = Control(channel, config.training.stop_on_nan)
    keeper = CheckpointKeeper(
        channel, reporter, spec.job_id, spec.attempt, arguments.save_total_limit
    )
    with phases.phase("trainer"):
        trainer = make_trainer(model, tokenizer, data, arguments, config)
    for callback in (reporter, control, keeper):
        trainer.add_callback(callback)

    if resume is not None:
        logger.info("Resuming from the checkpoint of step %d", resume[1].step)
    figures.start()
    try:
        with phases.phase("train"):
            trainer.train(resume_from_checkpoint=str(resume[0]) if resume else None)
        if control.stopped == "cancelled":
            raise Stopped
        if control.stopped == "paused":
            return Outcome(outcome="paused", result={"checkpoint": keeper.last_path})
        if data.eval is not None and reporter.last_eval_step != trainer.state.global_step:
            with phases.phase("evaluate"):
                trainer.evaluate()
    finally:
        figures.stop()

    with phases.phase("save_model"):
        model_dir = artifacts.save_model(trainer, job_dir)
    return Outcome(
        outcome="completed",
        result={"model_dir": model_dir.name, **summary(trainer, reporter, data, seconds)},
    )


def quiet_libraries() -> None:
    """No progress bars, and the libraries' logs through ours: the output is a log of lines."""
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_default_handler()
    transformers.utils.logging.enable_propagation()
    # Only encoding is parallel, and only in this process; loader workers do not encode.
    os.environ["TOKENIZERS_PARALLELISM"] = "true"


def log_start(spec: TrainingSpec, request: TrainingRequest, machine: Machine) -> None:
    """Say what runs where, and which settings were not understood."""
    logger.info(
        "Attempt %d of job %s on %s: %s of %s",
        spec.attempt,
        spec.job_id,
        machine.device_name,
        request.config.training.method,
        request.config.model.name,
    )
    for said in request.notes:
        logger.warning("Two spellings of one setting: %s", said)
    for path in request.ignored:
        logger.warning("Ignored: %s", path)


def locate(spec: TrainingSpec, config: JobConfig) -> Folders:
    """Find the folders of the model and its tokenizer. Raises ModelError."""
    asked = config.model.trust_remote_code or config.tokenizer.trust_remote_code
    remote_code = asked and spec.allow_remote_code
    if asked and not remote_code:
        logger.warning(
            "Adjusted: trust_remote_code: this worker runs no code that comes with a model"
        )

    def folder(name: str, revision: str | None) -> Path:
        return models.locate_model(
            name, spec.model_roots, revision=revision, allow_remote_code=remote_code
        )

    model = folder(config.model.name, config.model.revision)
    name = config.tokenizer.name
    tokenizer = model if name in (None, config.model.name) else folder(str(name), None)
    return Folders(model, tokenizer, remote_code)


def first_eval_is_cheap(data: TrainingData, config: JobConfig) -> bool:
    """Whether an eval before the training costs little beside the training itself."""
    if data.eval is None:
        return False
    training, rows = config.training, len(data.train.dataset)
    epochs = float(training.num_epochs)
    if training.max_steps is not None:
        batch = training.batch_size * training.gradient_accumulation_steps
        epochs = training.max_steps * batch / rows
    cost = data.train.tokens * epochs * (1 + _BACKWARD_COST)
    return data.eval.tokens <= FIRST_EVAL_SHARE * cost


def make_trainer(
    model: Any, tokenizer: Any, data: TrainingData, arguments: Arguments, config: JobConfig
) -> Trainer:
    """TRL's trainer over the tokenised rows. Raises ConfigurationError at refused arguments."""
    try:
        trainer = Trainer(
            model=model,
            args=SFTConfig(**arguments.values),
            train_dataset=data.train.dataset,
            eval_dataset=data.eval.dataset if data.eval else None,
            processing_class=tokenizer,
            peft_config=(
                models.lora_settings(config.lora)
                if config.training.use_lora and config.lora
                else None
            ),
        )
    except ValueError as error:
        raise ConfigurationError(f"The trainer refuses the settings: {error}") from error
    trainer.remove_callback(PrinterCallback)
    return trainer


def summary(
    trainer: Trainer, reporter: Reporter, data: TrainingData, seconds: dict[str, float]
) -> dict[str, Any]:
    """The figures of a completed attempt, none of them NaN or infinite."""
    figures: dict[str, Any] = {
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "train_loss": reporter.train_loss,
        "first_eval_loss": reporter.first_eval_loss,
        "last_eval_loss": reporter.last_eval_loss,
        "perplexity": perplexity(reporter.last_eval_loss),
        "train_runtime": seconds["train"],
        "tokens_per_second": reporter.tokens_per_second,
        "total_tokens": reporter.tokens,
        "train_rows": len(data.train.dataset),
        "eval_rows": len(data.eval.dataset) if data.eval else 0,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "seconds": dict(seconds),
    }
    return {
        name: value
        for name, value in figures.items()
        if not (isinstance(value, float) and not math.isfinite(value)) and value is not None
    }
