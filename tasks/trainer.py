"""One fine-tuning attempt, from its request to the saved model. Reads top to bottom."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

from transformers import set_seed

from tasks.arguments.adaptation import Context
from tasks.arguments.build import Arguments, build_arguments, choose_max_length
from tasks.arguments.machine import Machine
from tasks.callbacks import trackers
from tasks.callbacks.checkpointing import CheckpointKeeper
from tasks.callbacks.commands import Control
from tasks.callbacks.early_stopping import Patience
from tasks.callbacks.fit_check import FitCheck
from tasks.callbacks.gpu_figures import GpuFigures
from tasks.callbacks.metrics import MethodFigures, Reporter
from tasks.callbacks.pauser import Pauser
from tasks.callbacks.predictions import add_predictions
from tasks.channel import Channel
from tasks.checkpoints.disk import check_room
from tasks.checkpoints.folder import PARTIAL_DIR_NAME
from tasks.checkpoints.resume import (
    Start,
    check_fits,
    choose_start,
    fingerprint,
    settle,
)
from tasks.datasets.prepare import TrainingData, prepare_data
from tasks.errors import Paused
from tasks.library_logs import quiet_libraries
from tasks.methods.parts import load_parts, locate
from tasks.methods.registry import make_trainer
from tasks.models import load as models
from tasks.models.weights import has_finite_weights
from tasks.out_of_memory import free_memory, like, try_smaller
from tasks.parking.place import ParkingPlace
from tasks.phases import Phases
from tasks.ranks.ranks import ALONE, Ranks
from tasks.result import save_result
from trainyard.contract.checkpoint_manifest import Manifest
from trainyard.contract.config import JobConfig
from trainyard.contract.events import Outcome, TrainingSpec
from trainyard.contract.job_folder import CHECKPOINTS
from trainyard.contract.request import TrainingRequest

FIRST_EVAL_SHARE = 0.1
"""The eval before the training is made where it costs at most this share of the training."""
_BACKWARD_COST = 2.0
"""A backward pass costs about two forward passes."""

logger = logging.getLogger(__name__)


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
    while True:
        start = ranks.from_first(partial(choose_start, spec))
        try:
            return _train(spec, request, channel, Phases(channel, seconds), start, place, ranks)
        except Paused as pause:
            if pause.checkpoint is None and start is not None:
                raise Paused(start.relative_path, start.manifest.step) from None
            raise
        except Exception as error:
            # Several ranks end together; their launcher starts them again.
            less = None if ranks.are_several else try_smaller(spec, request, error, seconds)
            if less is None:
                raise
            spec, request = less
        free_memory()


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
    if start is not None:
        config = like(config, start.manifest.batch_size, start.manifest.accumulation)
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
    accept(start, what, spec, ranks)

    machine = Machine.here().shared_by(ranks.count)
    logger.info("The data set is ready; the training takes its device: %s", machine.device_name)
    context = Context(config, machine, max_length, data.eval is not None, [note] if note else [])
    arguments = build_arguments(
        context,
        output_dir=str(job_dir / CHECKPOINTS / PARTIAL_DIR_NAME),
        eval_on_start=start is None and first_eval_is_cheap(data, config),
    )
    log_choices(arguments)

    with phases.phase("load_model"):
        parts = load_parts(spec, folders, tokenizer, config, arguments)

    trackers.choose_places(arguments.values["report_to"], job_dir)
    with phases.phase("trainer"):
        trainer = make_trainer(parts, tokenizer, data, arguments, config)
    check_room(
        job_dir,
        trainer.model,
        kept=arguments.save_total_limit,
        saves=trainer.args.save_strategy != "no",
        merged=config.training.merge_adapter,
    )
    figures = GpuFigures()
    reporter = Reporter(
        channel,
        len(data.train.dataset),
        figures.latest,
        perplexities=config.training.how.next_token,
    )
    pauser = Pauser(trainer, channel, reporter, figures, place, spec, phases.leave_out)
    listen(trainer, channel, reporter, pauser, start, what, arguments, config, ranks)

    if ranks.is_first and not config.training.sharded:
        add_predictions(trainer, channel, config, data, job_dir)
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
        trackers.finish(trainer)

    with phases.phase("save_model"):
        result = save_result(
            trainer, request, config, data, arguments, reporter, figures.energy_j, phases, ranks
        )
    result["seconds"] = dict(phases.seconds)
    return Outcome(outcome="completed", result=result)


def accept(start: Start | None, what: dict[str, str], spec: TrainingSpec, ranks: Ranks) -> None:
    """Go on from ``start`` for good. Raises ConfigurationError where it is of another training."""
    if start is not None:
        check_fits(start, what)
        if ranks.is_first:
            settle(spec, start)


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
    trackers.guard(trainer, pauser.spec.job_id)
    # On a CPU there is no peak to report; sampled answers are yet to be generated.
    if trainer.args.device.type == "cuda" and not config.training.how.samples_answers:
        trainer.add_callback(FitCheck(trainer, channel))
    control = Control(
        channel,
        config.training.stop_on_nan,
        loss_sum=lambda: ranks.sum(trainer.loss_sum()),
        reporter=reporter,
    )

    def are_finite() -> bool:
        return ranks.sum(float(not has_finite_weights(trainer.model))) == 0

    trainer.check_weights = lambda: control.check_weights(trainer.state.global_step, are_finite)

    def manifest(step: int, epoch: float) -> Manifest:
        spec = pauser.spec
        return Manifest(
            job_id=spec.job_id,
            attempt=spec.attempt,
            step=step,
            epoch=epoch,
            fingerprint=what,
            batch_size=config.training.batch_size,
            accumulation=config.training.gradient_accumulation_steps,
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
    training = config.training
    patience = Patience(
        trainer.args.metric_for_best_model,
        evals=training.early_stopping_patience,
        epochs=training.epochs_without_improvement,
    )
    for callback in (keeper, reporter, MethodFigures(), patience, control):
        trainer.add_callback(callback)


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


def log_choices(arguments: Arguments) -> None:
    """Say which settings were adjusted or ignored, and how a GPU is used."""
    for said in arguments.notes:
        logger.warning("%s", said)
    for reason in arguments.reasons:
        logger.info("On the GPU: %s", reason)


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
