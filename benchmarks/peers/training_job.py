"""Job that every peer runs: the plain training, and what a scenario adds to it.

    python -m benchmarks.peers.training_job SPEC.json    # the bare script

The specification is that of ``plain_training.py``, with ``name`` and ``attempts_file``: each
attempt appends its pid, and ``ended`` where it comes so far. ``reports_to``: a URL that gets the
loss every ten steps, as a plain script would post it. As with the hooks beside ours, a job named
``family-...`` starts children in sessions of their own at its third step; one named ``hung-...``
does so too, and gets stuck in native code, deaf to SIGTERM.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import requests
from transformers import TrainerCallback

from benchmarks.peers.processes import JOB_VARIABLE
from benchmarks.plain_training import train

_AT_STEP = 3


class PostLoss(TrainerCallback):
    """Waits for each answer, for ten seconds at most, and does not mind a failure."""

    def __init__(self, url: str) -> None:
        self._url = url

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            point = {"step": state.global_step, "train_loss": logs["loss"]}
            with contextlib.suppress(requests.RequestException):
                requests.post(self._url, json=point, timeout=10)


class HaveChildren(TrainerCallback):
    """Three that have left their parent, and one that has not."""

    def __init__(self, then_hang: bool) -> None:
        self._then_hang = then_hang

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step != _AT_STEP:
            return
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _number in range(3):
            subprocess.run(["setsid", "-f", "sleep", "600"], check=True)
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        if self._then_hang:
            sum(itertools.repeat(1))


def run(spec: dict[str, Any]) -> None:
    """One attempt, in this process."""
    os.environ[JOB_VARIABLE] = spec["name"]  # of the children
    _note(spec, str(os.getpid()))
    callbacks: list[TrainerCallback] = []
    if spec.get("reports_to"):
        callbacks.append(PostLoss(spec["reports_to"]))
    kind = spec["name"].partition("-")[0]
    if kind in ("family", "hung"):
        callbacks.append(HaveChildren(kind == "hung"))
    train(spec, callbacks)
    _note(spec, "ended")


def _note(spec: dict[str, Any], line: str) -> None:
    with Path(spec["attempts_file"]).open("a") as attempts:
        attempts.write(f"{line}\n")


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text()))
