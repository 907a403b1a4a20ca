"""One fine-tuning attempt, from its request to the saved model. Reads top to bottom."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import transformers
from transformers import set_seed

from backend_bridge.checkpoint_manifest import Manifest
from backend_bridge.contract import JobConfig, Outcome, TrainingRequest, TrainingSpec
from tasks import artifacts, models, rewards
from tasks.adaptation import Context
from tasks.channel import Channel
from tasks.checkpoint_keeper import CheckpointKeeper
from tasks.checkpoints import PARTIAL_DIR_NAME
from tasks.control import Control
from tasks.datasets.prepare import TrainingData, prepare_data
from tasks.errors import Paused
from tasks.gpu_figures import GpuFigures
from tasks.machine import Machine
from tasks.method_figures import MethodFigures
from tasks.methods import Parts, make_trainer, method_of, needs_reference_model
from tasks.parking import ParkingPlace
from tasks.pausing import Pauser
from tasks.phases import Phases
from tasks.ranks import ALONE, Ranks
from tasks.reporter import Reporter
from tasks.resume import CHECKPOINTS_DIR_NAME, Start, check_fits, choose_start, fingerprint, settle
from tasks.summary import summary
from tasks.training_arguments import (
    Arguments,
    build_arguments,
    choose_max_length,
)

FIRST_EVAL_SHARE = 0.1
"""The eval before the training is made where it costs at most this share of the training."""
_BACKWARD_COST = 2.0
"""A backward pass costs about two forward passes."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folders:
    """Where the model and the tokenizer lie, and whether code beside them may run."""

    model: Path
    tokenizer: Path
    remote_code: bool


def train(
    spec: TrainingSpec,
    request: TrainingRequest,
    channel: Channel,
    seconds: dict[str, float],
    place: ParkingPlace | None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Run the attempt. ``seconds`` holds the phases before it, by name.

    Every one of ``ranks`` comes through here, with the same request.

    Returns the outcome ``completed``. Raises TrainingError, Stopped at a cancel, Paused at a pause
    that does not park in ``place``, or whatever the libraries raise.
    """
    start = ranks.from_first(lambda: choose_start(spec))
    try:
        return _train(spec, request, channel, Phases(channel, seconds), start, place, ranks)
    except Paused as pause:
        if pause.checkpoint is None and start is not None:
            raise Paused(start.relative_path, start.manifest.step) from None
        raise


def _train(
    spec: TrainingSpec,
    request: TrainingRequest,
    channel: Channel,
    phases: Phases,
    start: Start | None,
    place: ParkingPlace | None,
    ranks: Ranks,
) -> Outcome:
    config, job_dir = request.config, Path(spec.job_dir)
    quiet_libraries()
    log_start(spec, request)
    set_seed(config.seed)

    with phases.phase("tokenizer"):
        folders = locate(spec, config)
        model_config = models.load_config(folders.model, config.model.name, folders.remote_code)
        tokenizer = models.load_tokenizer(folders.tokenizer, config, folders.remote_code)
    max_length, note = choose_max_length(
        config, getattr(model_config.get_text_config(), "max_position_embeddings", None)
    )

    with phases.phase("data"), ranks.first_before_others():
        data = prepare_data(
            request,
            spec,
            tokenizer,
            max_length=max_length,
            add_eos=config.tokenizer.add_eos_token is not False,
        )
    what = fingerprint(config, model_config, data.train.sample_sha256())
    if start is not None:
        check_fits(start, what)
        if ranks.is_first:
            settle(spec, start)

    machine = Machine.here().shared_by(ranks.count)
    logger.info("The data set is ready; the training takes its device: %s", machine.device_name)
    context = Context(config, machine, max_length, data.eval is not None, [note] if note else [])
    arguments = build_arguments(
        context,
        output_dir=str(job_dir / CHECKPOINTS_DIR_NAME / PARTIAL_DIR_NAME),
        eval_on_start=start is None and first_eval_is_cheap(data, config),
    )
    for said in arguments.notes:
        logger.warning("%s", said)

    with phases.phase("load_model"):
        model = load(folders, config, arguments)
        models.check_vocabulary(model, tokenizer, config.model.name)
        reference = load(folders, config, arguments) if needs_reference_model(config) else None
        parts = Parts(model, reference, *load_rewards(spec, config, arguments))

    with phases.phase("trainer"):
        trainer = make_trainer(parts, tokenizer, data, arguments, config)
    figures = GpuFigures()
    reporter = Reporter(
        channel,
        len(data.train.dataset),
        figures.latest,
        perplexities=method_of(config).perplexity,
    )
    pauser = Pauser(trainer, channel, reporter, figures, place, spec, phases.leave_out)
    listen(trainer, channel, reporter, pauser, start, what, arguments, config, ranks)

    if start is not None:
        logger.info("Resuming from the checkpoint of step %d", start.manifest.step)
    if ranks.is_first:
        figures.start()
    try:
        with phases.phase("train"):
            phases.may_pause = False
            trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
        if data.eval is not None and reporter.last_eval_step != trainer.state.global_step:
            with phases.phase("evaluate"):
                trainer.evaluate()
    finally:
        figures.stop()

    with phases.phase("save_model"):
        if not ranks.is_first:
            return Outcome(outcome="completed")
        model_dir = artifacts.save_model(trainer, job_dir)
    return Outcome(
        outcome="completed",
        result={"model_dir": model_dir.name, **summary(trainer, reporter, data, phases.seconds)},
    )


def listen(
    trainer: Any,
    channel: Channel,
    reporter: Reporter,
    pauser: Pauser,
    start: Start | None,
    what: dict[str, str],
    arguments: Arguments,
    config: JobConfig,
    ranks: Ranks,
) -> None:
    """Add what listens to the trainer, in the order in which it is called."""
    control = Control(
        channel,
        config.training.stop_on_nan,
        loss_sum=lambda: ranks.sum(trainer.loss_sum()),
        reporter=reporter,
    )

    def manifest(step: int, epoch: float) -> Manifest:
        spec = pauser.spec
        return Manifest(
            job_id=spec.job_id, attempt=spec.attempt, step=step, epoch=epoch, fingerprint=what
        )

    keeper = CheckpointKeeper(
        trainer,
        channel,
        reporter,
        control,
        pauser,
        start=start,
        manifest=manifest,
        keep=arguments.save_total_limit,
        ranks=ranks,
    )
    for callback in (keeper, reporter, MethodFigures(), control):
        trainer.add_callback(callback)


def quiet_libraries() -> None:
    """No progress bars, and the libraries' logs through ours: the output is a log of lines."""
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_default_handler()
    transformers.utils.logging.enable_propagation()
    # Only encoding is parallel, and only in this process; loader workers do not encode.
    os.environ["TOKENIZERS_PARALLELISM"] = "true"


def log_start(spec: TrainingSpec, request: TrainingRequest) -> None:
    """Say what runs, and which settings were not understood."""
    logger.info(
        "Attempt %d of job %s: %s of %s",
        spec.attempt,
        spec.job_id,
        request.config.training.method,
        request.config.model.name,
    )
    training = request.config.training
    if training.processes > 1:
        accumulation = training.gradient_accumulation_steps
        logger.info(
            "%d processes: each step trains on %d rows (batch_size %d x accumulation %d x %d)",
            training.processes,
            training.batch_size * accumulation * training.processes,
            training.batch_size,
            accumulation,
            training.processes,
        )
    for said in request.notes:
        logger.warning("Two spellings of one setting: %s", said)
    for path in request.ignored:
        logger.warning("Ignored: %s", path.encode("unicode_escape").decode())


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


def load(folders: Folders, config: JobConfig, arguments: Arguments) -> Any:
    """The base model. Raises ModelError."""
    return models.load_model(
        folders.model,
        config,
        dtype=arguments.model_dtype,
        quantization=arguments.quantization,
        trust_remote_code=folders.remote_code,
    )


def load_rewards(
    spec: TrainingSpec, config: JobConfig, arguments: Arguments
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What rewards the answers of rlhf, and their tokenizers. Raises ModelError."""
    rlhf = config.training.rlhf
    if config.training.method != "rlhf" or rlhf is None:
        return (), ()
    functions = tuple(rewards.BUILT_IN[name] for name in rlhf.reward_functions)
    if rlhf.reward_model is None:
        return functions, (None,) * len(functions)
    folder = models.locate_model(
        rlhf.reward_model, spec.model_roots, revision=None, allow_remote_code=False
    )
    model, tokenizer = rewards.load_reward_model(folder, rlhf.reward_model, arguments.model_dtype)
    return (*functions, model), (*(None,) * len(functions), tokenizer)


def first_eval_is_cheap(data: TrainingData, config: JobConfig) -> bool:
    """Whether an eval before the training costs little beside the training itself."""
    if data.eval is None:
        return False
    training, rows = config.training, len(data.train.dataset)
    epochs = float(training.num_epochs)
    if training.max_steps is not None:
        batch = training.batch_size * training.gradient_accumulation_steps * training.processes
        epochs = training.max_steps * batch / rows
    cost = data.train.tokens * epochs * (1 + _BACKWARD_COST)
    return data.eval.tokens <= FIRST_EVAL_SHARE * cost
