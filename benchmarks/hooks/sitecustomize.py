"""Hook of the benchmarks in every training: when its steps end, and a hang on demand.

Python imports this file at its start where the folder is on PYTHONPATH. In a slot process it
waits for forks; each end of an optimizer step of a training is one line ``<monotonic s> <step>``
in ``$BENCH_STEPS/<job>``; what leaving the GPU and coming back takes is one line of seconds in
``<job>.leave`` and ``<job>.come_back`` beside it. A job whose name starts with ``hung`` gets stuck
in its third step, in native code (on a GPU: in a kernel), deaf to SIGTERM, with children in
sessions of their own; one whose name starts with ``family`` has such children and goes on. With
``BENCH_LINES_PER_S`` every training prints at that rate, as the baseline's script does. With
``BENCH_REPORTING=off`` a training's reporter does nothing, and its events go nowhere.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

_HANGS_AT_STEP = 3
_patched = False


def _after_fork() -> None:
    """In a keeper, then in its training."""
    global _patched  # noqa: PLW0603 - once for each process
    callbacks = sys.modules.get("transformers.trainer_callback")
    if callbacks is None or _patched:
        return
    _patched = True
    on_step_end = callbacks.CallbackHandler.on_step_end

    def noted(this: Any, args: Any, state: Any, control: Any) -> Any:
        _note(state.global_step)
        _talk(state.global_step)
        return on_step_end(this, args, state, control)

    callbacks.CallbackHandler.on_step_end = noted
    off_the_gpu = sys.modules["tasks.parking.off_gpu"].OffTheGpu
    for name in ("leave", "come_back"):
        setattr(off_the_gpu, name, _timed(name, getattr(off_the_gpu, name)))
    if os.environ.get("BENCH_REPORTING") == "off":
        _mute(callbacks.TrainerCallback)


def _mute(does_nothing: Any) -> None:
    for name in [name for name in vars(does_nothing) if name.startswith("on_")]:
        setattr(
            sys.modules["tasks.callbacks.metrics"].MetricReporter, name, getattr(does_nothing, name)
        )
    sys.modules["tasks.channel"].SocketChannel.send = lambda channel, event: None


_LINES_PER_S = float(os.environ.get("BENCH_LINES_PER_S", "0"))
_printed_to = 0.0


def _talk(step: int) -> None:
    global _printed_to  # noqa: PLW0603 - one training a process
    now = time.monotonic()
    since = min(now - _printed_to, 0.25) if _printed_to else 0  # it may have been stopped
    for number in range(int(since * _LINES_PER_S)):
        print(f"step {step}: line {number} of a training that talks a lot")
        _printed_to = now
    _printed_to = _printed_to or now


@functools.cache
def _lines(name: str) -> TextIO:
    return (Path(os.environ["BENCH_STEPS"]) / name).open("a", buffering=1)


def _timed(name: str, function: Any) -> Any:
    def timed(this: Any) -> None:
        began = time.monotonic()
        function(this)
        seconds = time.monotonic() - began
        _lines(f"{os.environ['TRAINYARD_JOB_ID']}.{name}").write(f"{seconds}\n")

    return timed


def _note(step: int) -> None:
    job_id = os.environ["TRAINYARD_JOB_ID"]
    _lines(job_id).write(f"{time.monotonic()} {step}\n")
    if job_id.startswith(("hung", "family")) and step == _HANGS_AT_STEP:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(3):
            subprocess.run(["setsid", "-f", "sleep", "600"], check=True)
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        if job_id.startswith("family"):
            return
        torch = sys.modules["torch"]
        if torch.cuda.is_available():
            torch.cuda._sleep(1 << 62)
            torch.cuda.synchronize()
        sum(itertools.repeat(1))


if "BENCH_STEPS" in os.environ and "worker.slot_process" in sys.orig_argv:
    os.register_at_fork(after_in_child=_after_fork)
