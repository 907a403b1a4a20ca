"""Entry of the training process: ``main(events_fd)``, or ``python -m tasks.runner FD``.

Reads the spec from its supervisor, runs the training, and reports exactly one Outcome as its last
event. Everything that it prints is the job's log.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

from backend_bridge.contract import Outcome, Phase, TrainingRequest, TrainingSpec
from tasks.channel import Channel
from tasks.errors import Paused, Stopped, report
from tasks.parking import ParkingPlace

_STDERR_FD = 2
"""As a number: a parked training's output is put elsewhere under the same one."""

logger = logging.getLogger("trainyard")


def main(events_fd: int) -> int:
    """Run one attempt over the socket ``events_fd``.

    Returns the process's exit code: 0 where the outcome is completed, paused or cancelled, 1
    where it is failed.
    """
    set_up_output()
    place = ParkingPlace.from_environment()
    channel = Channel(events_fd)
    try:
        spec = channel.receive_spec()
        channel.start()
        outcome = run(spec, channel, place)
        channel.send(outcome)
    finally:
        channel.close()
    return 1 if outcome.outcome == "failed" else 0


def run(spec: TrainingSpec, channel: Channel, place: ParkingPlace | None = None) -> Outcome:
    """Run the attempt and turn however it ends into its Outcome."""
    try:
        return _train(spec, channel, place)
    except Paused as pause:
        logger.info("Paused at step %d: the training leaves the GPU", pause.step)
        result = {"checkpoint": pause.checkpoint, "step": pause.step, "parked": False}
        return Outcome(outcome="paused", result=result)
    except Stopped:
        logger.info("Cancelled: the training has stopped")
        return Outcome(outcome="cancelled")
    except Exception as error:
        # The one place where any error is caught: it becomes the job's reason.
        traceback.print_exc()
        found = report(error)
        logger.error("%s %s", found.message, found.hint)
        return Outcome(outcome="failed", error=found)


def _train(spec: TrainingSpec, channel: Channel, place: ParkingPlace | None) -> Outcome:
    request = read_request(Path(spec.job_dir))
    started = time.monotonic()
    # Late: a fresh interpreter takes seconds for torch, which are then a phase of the attempt. A
    # process forked from one with tasks.preload imported has it already.
    import tasks.preload  # noqa: PLC0415

    seconds = {"imports": round(time.monotonic() - started, 3)}
    channel.send(Phase(name="imports", seconds=seconds["imports"]))
    return tasks.preload.train(spec, request, channel, seconds, place)


def read_request(job_dir: Path) -> TrainingRequest:
    """The request as admitted, without its secrets."""
    return TrainingRequest.model_validate_json((job_dir / "request.json").read_bytes())


def set_up_output() -> None:
    """Lines as they are made, the level in each record, and stacks where they are needed.

    Where native code crashes, and at SIGUSR1, which a supervisor sends to a training that makes no
    step: written by the signal handler itself, so that code that never returns does not delay it.
    """
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, file=_STDERR_FD, all_threads=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s", force=True
    )
    logging.captureWarnings(True)
    warnings.formatwarning = _one_line
    for noisy in ("httpx", "urllib3", "filelock", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return f"{category.__name__}: {message} ({filename}:{lineno})"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
