"""Training of one attempt: from its request to the saved model. Reads top to bottom."""

from __future__ import annotations

import logging
from functools import partial

from transformers import set_seed

from tasks.callbacks.assembly import add_callbacks
from tasks.checkpoints.resume import choose_start
from tasks.errors import Paused, report
from tasks.library_logs import quiet_libraries
from tasks.out_of_memory import free_memory, like, try_smaller
from tasks.preparation import prepare
from tasks.results.judgement import judge_data, judge_model
from tasks.results.result import publish_result, save_result, verify_result
from tasks.run import Run
from tasks.trial.loading import load_training
from trainyard.contract.events import Outcome

logger = logging.getLogger(__name__)


def train(run: Run) -> Outcome:
    """Make the attempt; every rank comes through here, with the same request.

    Returns the outcome ``completed``. Raises TrainingError, Stopped at a cancel, Paused at a pause
    that does not park in ``run.place``, or whatever the libraries raise.
    """
    while True:
        run.start = run.ranks.from_first(partial(choose_start, run.spec))
        try:
            return _train(run)
        except Paused as pause:
            if pause.checkpoint is None and run.start is not None:
                raise Paused(run.start.relative_path, run.start.manifest.step) from None
            raise
        except Exception as error:
            # Several ranks end together, and their launcher starts them again. What does not even
            # load does not load in smaller pieces.
            tries = not run.ranks.are_several and "trainer" in run.phases.seconds
            less = try_smaller(run.spec, run.request, report(error)) if tries else None
            if less is None:
                raise
            run.spec, run.request = less
        free_memory()


def _train(run: Run) -> Outcome:
    if run.start is not None:
        run.train_as(like(run.config, run.start.manifest))
    quiet_libraries()
    _log_start(run)
    set_seed(run.config.seed)
    run.verdicts.clear()
    prepared = prepare(run)
    judge_data(run, prepared.data)
    loaded = load_training(run, prepared)
    trainer = loaded.trainer
    judge_model(run, trainer)
    callbacks = add_callbacks(run, trainer, prepared)
    if run.start is not None:
        logger.info("Resuming from the checkpoint of step %d", run.start.manifest.step)
    with callbacks.listening():
        with run.phases.phase("train"):
            trainer.train(resume_from_checkpoint=str(run.start.folder) if run.start else None)
        evaluated = callbacks.reporter.last_eval_step == trainer.state.global_step
        if prepared.data.eval is not None and not evaluated:
            with run.phases.phase("evaluate", may_pause=False):
                trainer.evaluate()
    with run.phases.phase("save_model", may_pause=False):
        saved = save_result(run, trainer, prepared, callbacks.reporter)
    if run.config.training.verify_result:
        with run.phases.phase("verify", may_pause=False):
            verify_result(run, saved)
    result = publish_result(run, trainer, prepared, callbacks.reporter, saved)
    result["trial"] = loaded.trial
    if run.config.training.use_liger_kernel:
        result["kernels"] = loaded.kernels
    result["seconds"] = dict(run.phases.seconds)
    return Outcome(outcome="completed", result=result)


def _log_start(run: Run) -> None:
    """Say what runs, and which settings were not understood."""
    training = run.config.training
    logger.info(
        "Attempt %d of job %s: %s of %s",
        run.spec.attempt,
        run.spec.job_id,
        training.method,
        run.config.model.name,
    )
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
    for said in run.request.notes:
        logger.warning("Two spellings of one setting: %s", said)
    for path in run.request.ignored:
        logger.warning("Ignored: %s", path.encode("unicode_escape").decode())
