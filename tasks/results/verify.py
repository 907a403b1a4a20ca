"""Verification of a result before its job is completed: it is what was trained, or it is not kept.

The result is loaded again in a fresh process (``tasks.results.reload``), by the standard classes.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.errors import TrainingError
from tasks.fresh_process import Failed, FreshProcessDied, TookTooLong, ask
from tasks.results.reload import CHECK, Question
from tasks.run import Run
from trainyard.contract.errors import ErrorKind
from trainyard.contract.job_folder import MERGED
from trainyard.contract.verdicts import VerdictKind

UNVERIFIED_DIR_NAME = "model.refused"
"""Where a result is kept that is not what was trained."""
SMALL_PARAMETERS = 100 * 1000 * 1000
"""A model of fewer is loaded on the CPU, sooner than a GPU is taken."""
_SMALL_MAY_TAKE_S = 60.0
"""It takes 2 s at most, on a machine that has nothing else to do."""
_LARGE_MAY_TAKE_S = (2.0, 60.0)
_SHARE_OF_THE_JOB = 0.05

logger = logging.getLogger(__name__)


class ResultRefused(TrainingError):
    """The saved result is not the model that was trained."""

    kind = ErrorKind.RESULT


@dataclass(frozen=True)
class ToVerify:
    """What is asked of the result and of its merged copy, if there is one."""

    model: Question
    merged: Question | None
    parameters: int


def verify(run: Run, partial: Path, asked: ToVerify) -> None:
    """Load the result in ``partial`` again and compare. Raises ResultRefused; it is kept then.

    A merged copy that is wrong is taken away. If there is no time or memory for it, that is said.
    """
    questions = [question for question in (asked.model, asked.merged) if question is not None]
    limit_s = time_limit_s(asked.parameters, sum(run.phases.seconds.values()))
    try:
        answers = ask(CHECK, questions, limit_s, run.channel.raise_if_cancelled)
    except TookTooLong:
        not_verified(run, f"loading it again took longer than {limit_s:.2g} s")
        return
    except FreshProcessDied:
        not_verified(run, "the process that loads it again ended: there may be too little memory")
        return
    if isinstance(answers, Failed):
        not_verified(run, f"there is too little memory to load it again ({answers.error})")
        return
    for question, found in zip(questions, answers, strict=True):
        wrong = _sentences(found)
        if wrong and question is asked.merged:
            leave_out_merged(run, partial, wrong[0])
        elif wrong:
            kept = partial.with_name(UNVERIFIED_DIR_NAME)
            shutil.rmtree(kept, ignore_errors=True)
            partial.rename(kept)
            raise ResultRefused(
                f"The saved result is not the model that was trained: {'; '.join(wrong)}.",
                f"Its files are kept in {kept.name}, the checkpoints are intact. "
                "config.training.verify_result false completes the job with them.",
            )
    logger.info("The result is verified: loaded again it says what the trained model says")


def _sentences(found: list[str] | Failed) -> list[str]:
    if not isinstance(found, Failed):
        return found
    logger.error("%s", found.text)
    return [f"it cannot be loaded: {found.error}"]


def not_verified(run: Run, why: str) -> None:
    """Say that the result is as it was written, and nothing more is known of it."""
    run.verdicts.add(VerdictKind.NOT_VERIFIED, f"the result is not verified: {why}")


def leave_out_merged(run: Run, partial: Path, why: str) -> None:
    """Offer no merged copy, and say why."""
    shutil.rmtree(partial / MERGED, ignore_errors=True)
    run.verdicts.add(
        VerdictKind.NOT_MERGED, f"there is no merged copy, the adapter is the result: {why}"
    )


def time_limit_s(parameters: int, job_s: float) -> float:
    """Seconds that the verification of a model may take at the end of a job of ``job_s``."""
    if parameters < SMALL_PARAMETERS:
        return _SMALL_MAY_TAKE_S
    least, most = _LARGE_MAY_TAKE_S
    return min(max(least, _SHARE_OF_THE_JOB * job_s), most)


def of_merged(question: Question, folder: Path, **changes: object) -> Question:
    """The question about a merged copy: a whole model, by itself."""
    return replace(question, folder=str(folder), base=None, **changes)  # type: ignore[arg-type]
