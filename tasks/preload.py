"""Preload of everything heavy that a training needs, for the slot process to fork from.

Importing this module sets the variables that the libraries read at their import, and imports them:
no tensor is made, nothing is tokenised and CUDA stays untouched, so that the process stays safe to
fork. What the libraries would make once in each training anyway is made here too. A training in a
fresh interpreter comes through here as well.
"""

from __future__ import annotations

import contextlib
import importlib
import os

# OpenMP's threads spin while they wait. On cores that anything else uses too (our own bridge and
# backend, on a small machine) that cost a factor of 8 in steps per second; asleep they cost none.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# The job's log takes lines, not progress bars.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from tasks.run import Run
from tasks.trainer import train

__all__ = ["Run", "train"]

COMMON_MODELS = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3", "phi3")
"""Kinds of models whose classes are imported here: 5 ms each, by which trainings begin sooner."""

# Names of weights in checkpoints of all kinds of models: 900 regular expressions, 40 ms.
get_checkpoint_conversion_mapping("")
for _model in COMMON_MODELS:
    with contextlib.suppress(ImportError):  # of another version
        importlib.import_module(f"transformers.models.{_model}.modeling_{_model}")
