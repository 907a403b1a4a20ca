"""Trackers (Weights & Biases, MLflow, TensorBoard): they have places, and fail no training."""

from __future__ import annotations

import logging
import netrc
import os
import sys
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import MLflowCallback, WandbCallback

from tasks import sealed_secrets
from tasks.callbacks.random_numbers import random_numbers_kept
from tasks.errors import Paused, Stopped

_SECRETS = {
    "wandb": ("WANDB_",),
    "mlflow": ("MLFLOW_", "AWS_", "AZURE_", "DATABRICKS_", "GOOGLE_"),
}
"""Beginnings of the names of what a tracker logs in with, at its server or at its store."""

logger = logging.getLogger(__name__)


def choose_places(names: Collection[str], job_dir: Path) -> None:
    """Before the Trainer is made: ``names`` record in the job's folder, unless the worker's
    environment names another place."""
    for name, beginnings in _SECRETS.items():
        if name in names:  # all that is foreign has been read
            sealed_secrets.reveal(beginnings, ["_PROXY"])
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(job_dir / "tensorboard")
    if "wandb" in names:
        os.environ.setdefault("WANDB_DIR", str(job_dir))
        # Else all output goes there too, before secrets are taken out of it.
        os.environ.setdefault("WANDB_CONSOLE", "off")
        if "WANDB_MODE" not in os.environ and not _has_wandb_key():
            os.environ["WANDB_MODE"] = "offline"
            logger.info(
                "Weights & Biases: this worker has no WANDB_API_KEY, so the run is recorded in %s; "
                "'wandb sync' sends it",
                job_dir / "wandb",
            )
    if "mlflow" in names and "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ["MLFLOW_TRACKING_URI"] = (job_dir / "mlruns").as_uri()
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        logger.info("MLflow: the run is recorded in %s", job_dir / "mlruns")


def _has_wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def guard_trackers(trainer: Any, job_id: str) -> None:
    """The run bears the job's name; what a tracker fails with is said once, and it hears no more.

    Nor do the training's random numbers depend on a tracker.
    """
    trainer.args.run_name = job_id
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, WandbCallback | MLflowCallback):
            _guard(callback)


def _guard(callback: TrainerCallback) -> None:
    failed = False

    def guarded(method: Callable[..., Any]) -> Callable[..., None]:
        @wraps(method)
        def call(*arguments: Any, **more: Any) -> None:
            nonlocal failed
            if failed:
                return
            try:
                with random_numbers_kept():
                    method(*arguments, **more)
            except Exception as error:
                # Reporting never fails a job.
                failed = True
                _warn(type(callback).__name__, error)

        return call

    for name in vars(type(callback)):
        if name.startswith("on_"):
            setattr(callback, name, guarded(getattr(callback, name)))


def finish_trackers(trainer: Any) -> None:
    """End the runs, which are written out with it: a training process ends without exit handlers.

    Called while an error is on its way, it says of the run that it failed or was stopped.
    """
    error = sys.exception()
    status = "KILLED" if isinstance(error, Stopped | Paused) else "FAILED" if error else "FINISHED"
    for callback in trainer.callback_handler.callbacks:
        try:
            if isinstance(callback, WandbCallback) and callback._wandb.run is not None:
                callback._wandb.finish(exit_code=int(status == "FAILED"))
            elif (
                isinstance(callback, MLflowCallback) and callback._ml_flow.active_run() is not None
            ):
                callback._ml_flow.end_run(status)
        except Exception as problem:  # as above
            _warn(type(callback).__name__, problem)


def _warn(name: str, error: Exception) -> None:
    logger.warning(
        "%s failed and hears no more; the training goes on: %s: %s",
        name,
        type(error).__name__,
        error,
    )
