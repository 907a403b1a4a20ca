"""Logs of the libraries of a training, made lines of the job's log."""

from __future__ import annotations

import logging
import os

import datasets
import transformers


def quiet_libraries() -> None:
    """No progress bars, and the libraries' logs through ours: the output is a log of lines.

    A handler of their own would print a record without its level, and most once more.
    """
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_default_handler()
    transformers.utils.logging.enable_propagation()
    for library in ("datasets", "huggingface_hub"):
        logging.getLogger(library).handlers.clear()
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    # Only encoding is parallel, and only in this process; loader workers do not encode.
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
