"""Preload of everything heavy that a training needs, for the slot process to fork from.

Importing this module sets the variables that the libraries read at their import, imports them, and
nothing else: no tensor is made, nothing is tokenised and CUDA stays untouched, so that the process
stays safe to fork. A training in a fresh interpreter comes through here too.
"""

from __future__ import annotations

import os

# OpenMP's threads spin while they wait. On cores that anything else uses too (our own bridge and
# backend, on a small machine) that cost a factor of 8 in steps per second; asleep they cost none.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# The job's log takes lines, not progress bars.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from tasks.run import Run
from tasks.trainer import train

__all__ = ["Run", "train"]
