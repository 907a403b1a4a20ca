"""Preparation of a training: tokenizer, tokenised data and the Trainer's arguments."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from tasks.arguments.adaptation import Context
from tasks.arguments.build import Arguments, build_arguments, choose_max_length
from tasks.arguments.machine import Machine
from tasks.checkpoints.folder import PARTIAL_DIR_NAME, clear_partial
from tasks.checkpoints.resume import check_fits, commit_start, fingerprint
from tasks.datasets.prepare import prepare_data
from tasks.datasets.training_data import TrainingData
from tasks.methods.parts import Folders, locate
from tasks.models.embeddings import positions
from tasks.models.end_tokens import end_tokens
from tasks.models.load import add_to_tokenizer, load_config, load_tokenizer
from tasks.run import Run
from trainyard.contract.config import JobConfig
from trainyard.contract.events import Reading
from trainyard.contract.job_folder import CHECKPOINTS

FIRST_EVAL_SHARE = 0.1
"""The eval before the training is made if it costs at most this share of the training."""
_BACKWARD_COST = 2.0
"""A backward pass costs about two forward passes."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What a training is made of, before its models are loaded.

    ``fingerprint``: what its checkpoints have to agree in (see ``tasks.checkpoints.resume``).
    """

    folders: Folders
    tokenizer: Any
    new_tokens: tuple[int, ...]
    data: TrainingData
    arguments: Arguments
    fingerprint: dict[str, str]


def prepare(run: Run) -> Prepared:
    """Prepare in the order of cost: what is wrong is found before the device is taken.

    Raises ModelError, DatasetError, and ConfigurationError, also if ``run.start`` is a checkpoint
    of another training.
    """
    config = run.config
    with run.phases.phase("tokenizer"):
        folders = locate(run.spec, config)
        model_config = load_config(
            folders.model,
            config.model.name,
            folders.remote_code,
            scores=config.training.how.scores_texts,
        )
        tokenizer = load_tokenizer(folders.tokenizer, config, folders.remote_code)
        new_tokens = add_to_tokenizer(tokenizer, config.tokenizer)
    max_length, note = choose_max_length(config, positions(model_config))
    with run.phases.phase("data"), run.ranks.first_before_others():
        sources = run.request.trains_on or "dataset_content", run.request.eval_dataset_path
        run.channel.send_now(Reading(source=", ".join(filter(None, sources))))
        data = prepare_data(
            run.request,
            run.spec,
            tokenizer,
            max_length=max_length,
            add_eos=config.tokenizer.add_eos_token is not False,
            end_tokens=end_tokens(folders.model, model_config),
        )
        run.channel.send_now(Reading(source=""))
    sample = data.train.sample_sha256()
    what = fingerprint(config, model_config, sample, folders.adapter_weights)
    _accept_start(run, what)

    machine = Machine.here(run.spec.gpu_expected).shared_by(run.ranks.count)
    logger.info("The data set is ready; the training takes its device: %s", machine.device_name)
    arguments = build_arguments(
        Context(config, machine, max_length, data.eval is not None, [note] if note else []),
        output_dir=str(run.job_dir / CHECKPOINTS / PARTIAL_DIR_NAME),
        eval_on_start=run.start is None and first_eval_is_cheap(data, config),
    )
    _log_choices(arguments)
    return Prepared(folders, tokenizer, new_tokens, data, arguments, what)


def _accept_start(run: Run, what: dict[str, str]) -> None:
    """Go on from the start for good, with no remains of an earlier save."""
    if run.ranks.is_first:
        clear_partial(run.job_dir / CHECKPOINTS)
    if run.start is not None:
        check_fits(run.start, what)
        if run.ranks.is_first:
            commit_start(run.spec, run.start)


def _log_choices(arguments: Arguments) -> None:
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
