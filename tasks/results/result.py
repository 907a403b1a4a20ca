"""Result of a completed training: saved, verified, published with its card and its figures."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.callbacks.metrics import MetricReporter
from tasks.preparation import Prepared
from tasks.results.dtype import cast_files, choose_dtype, hold_as_saved, round_weights, say_dtype
from tasks.results.figures import summary
from tasks.results.files import (
    CARD_NAME,
    make_readable,
    publish,
    write_model,
    written,
)
from tasks.results.judgement import judge_course
from tasks.results.merge import merge, wants_merge
from tasks.results.model_card import model_card, whole_card
from tasks.results.reference import EXACT, ROUGH, RowReference, reference
from tasks.results.reload import Question
from tasks.results.sample import sample_rows
from tasks.results.saved import SavedModel, choose_saved
from tasks.results.verify import SMALL_PARAMETERS, ToVerify, not_verified, verify
from tasks.run import Run
from trainyard.contract.job_folder import MERGED, MODEL

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A result that is written and not in its place yet.

    ``chosen``: whose weights it has; ``dtype``: of its files; ``asked``: what it is to hold.
    """

    partial: Path
    chosen: SavedModel
    dtype: str
    asked: ToVerify


def save_result(
    run: Run, trainer: Any, prepared: Prepared, reporter: MetricReporter
) -> Saved | None:
    """Choose the model and write it beside its place; None in all ranks but the first.

    Raises DiskTooSmall.
    """
    chosen = choose_saved(run, trainer, reporter)
    dtype = choose_dtype(run.config.training.save_dtype, trainer.model, prepared.folders.model)
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    model.config.use_cache = True  # training switches the key-value cache off
    round_weights(model, dtype)
    tokens = (prepared.tokenizer.eos_token_id, prepared.data.turn_end)
    scores = run.config.training.how.scores_texts
    ends = [] if scores else [token for token in tokens if token is not None]
    says = reference(model, sample_rows(prepared.data.train.dataset, prepared.tokenizer, ends))
    if not run.ranks.is_first:
        trainer.give_share()
        return None
    judge_course(run, trainer, chosen.step)
    partial = run.job_dir / f"{MODEL}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    question = _question(trainer, prepared, partial, dtype, says, ends)
    question = replace(question, scores=scores)
    with written(partial):
        asked = _write(run, trainer, model, prepared, question)
    return Saved(partial, chosen, dtype, asked)


def _question(
    trainer: Any,
    prepared: Prepared,
    partial: Path,
    dtype: str,
    says: Sequence[RowReference],
    ends: Sequence[int],
) -> Question:
    model, tokenizer = trainer.model, prepared.tokenizer
    texts = [tokenizer.decode(one.row.ids) for one in says]
    computed = str(next(model.parameters()).dtype).removeprefix("torch.")
    on_gpu = trainer.args.device.type == "cuda"
    large = sum(weight.numel() for weight in model.parameters()) >= SMALL_PARAMETERS
    return Question(
        folder=str(partial),
        base=str(prepared.folders.model) if hasattr(model, "peft_config") else None,
        says=says,
        ends=ends,
        texts=[(t, list(tokenizer(t, add_special_tokens=False)["input_ids"])) for t in texts],
        conversation=prepared.data.conversation,
        saved_dtype=dtype,
        dtype=computed,
        limit=EXACT if computed == "float32" and not on_gpu else ROUGH,
        on_gpu=on_gpu and (large or bool(prepared.arguments.quantization)),
        quantization=prepared.arguments.quantization,
        remote_code=prepared.folders.remote_code,
    )


def _write(run: Run, trainer: Any, model: Any, prepared: Prepared, question: Question) -> ToVerify:
    partial, dtype, sharded = (
        Path(question.folder),
        question.saved_dtype,
        run.config.training.sharded,
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if not sharded:
        hold_as_saved(model, dtype)
    folders, lora = prepared.folders, run.config.lora
    below = folders.adapter if lora is not None and lora.adapter == "new" else None
    write_model(trainer, partial, folders.base, question.ends, below=below)
    if sharded and dtype != question.dtype:
        cast_files(partial, dtype)
    if not hasattr(model, "peft_config"):
        say_dtype(partial, dtype)
    merged = merge(run, model, prepared, question) if wants_merge(run.config) else None
    return ToVerify(question, merged, parameters)


def verify_result(run: Run, saved: Saved | None) -> None:
    """Load it again and compare. Raises ResultRefused, and Stopped at a cancel."""
    if saved is None:
        return
    try:
        verify(run, saved.partial, saved.asked)
    except Exception:
        shutil.rmtree(saved.partial, ignore_errors=True)
        raise


def publish_result(
    run: Run,
    trainer: Any,
    prepared: Prepared,
    reporter: MetricReporter,
    saved: Saved | None,
) -> dict[str, Any]:
    """Put it in its place, with its card, and return the figures of the outcome."""
    if saved is None:
        return {}
    if not run.config.training.verify_result:
        not_verified(run, "config.training.verify_result is false")
    figures = summary(trainer, reporter, saved.chosen, prepared.data, run.phases.seconds)
    figures["dtype"] = saved.dtype
    target = run.job_dir / MODEL
    with written(saved.partial):
        card = model_card(
            run.request,
            prepared,
            figures,
            trainer.state.log_history,
            run.used.figures(),
            run.verdicts.found,
            jobs=run.job_dir.parent,
        )
        (saved.partial / CARD_NAME).write_text(card, encoding="utf-8")
        if (merged := saved.partial / MERGED).is_dir():
            card = whole_card(card, merged, scores=run.config.training.how.scores_texts)
            (merged / CARD_NAME).write_text(card, encoding="utf-8")
        make_readable(saved.partial, int(run.spec.result_mode, 8))
        publish(saved.partial, target)
    logger.info("The model is saved: %s", target)
    return {"model_dir": target.name, **figures}
