"""Entry of the training process: ``main(events_fd)``, or ``python -m tasks.runner FD``.

Reads the spec from its supervisor, runs the training, and reports exactly one Outcome as its last
event. Everything that it prints is the job's log.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.channel import Channel, SocketChannel
from tasks.errors import Paused, Stopped, report
from tasks.output import print_traceback, set_up_output
from tasks.parking.place import ParkingPlace
from tasks.progress.phases import Phases
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import Outcome, TrainingSpec
from trainyard.contract.job_folder import REQUEST
from trainyard.contract.request import TrainingRequest

if TYPE_CHECKING:
    from tasks.ranks.ranks import Ranks


logger = logging.getLogger("trainyard")

_MENDED_IN_REQUEST = {
    ErrorKind.CONFIGURATION,
    ErrorKind.DATASET,
    ErrorKind.GATED_MODEL,
    ErrorKind.MODEL_NOT_FOUND,
}
"""What the sentence says in full; `trainyard errors` has where it was raised as well."""


def main(events_fd: int) -> int:
    """Run one attempt over the socket ``events_fd``.

    Returns the process's exit code: 0 if the outcome is completed, paused or cancelled, 1 if it is
    failed.
    """
    set_up_output()
    channel = SocketChannel(events_fd)
    place = ParkingPlace.from_environment(channel)
    try:
        outcome = run(channel.receive_spec(), channel, place)
        channel.start()
        channel.send(outcome)
    finally:
        channel.close()
        if place is not None:
            place.close()
    return 1 if outcome.outcome == "failed" else 0


def run(spec: TrainingSpec, channel: SocketChannel, place: ParkingPlace | None = None) -> Outcome:
    """Run the attempt and turn however it ends into its Outcome.

    ``channel`` is started in the process that trains: here, or in the first of several ranks.
    """
    return _outcome(lambda: _train(spec, channel, place))


def _outcome(attempt: Callable[[], Outcome]) -> Outcome:
    try:
        return attempt()
    except Paused as pause:
        logger.info("Paused at step %d: the training leaves the GPU", pause.step)
        result = {"checkpoint": pause.checkpoint, "step": pause.step, "parked": False}
        return Outcome(outcome="paused", result=result)
    except Stopped:
        logger.info("Cancelled: the training has stopped")
        return Outcome(outcome="cancelled")
    except Exception as error:
        # The one place where any error is caught: it becomes the job's reason.
        found = report(error)
        said = f"{found.message} {found.hint}"
        if found.kind not in _MENDED_IN_REQUEST:
            print_traceback(error, said)
        logger.error("%s", said)
        return Outcome(outcome="failed", error=found)


def _train(spec: TrainingSpec, channel: SocketChannel, place: ParkingPlace | None) -> Outcome:
    request = read_request(Path(spec.job_dir))
    started = time.monotonic()
    # Late: a fresh interpreter takes seconds for torch, which are then a phase of the attempt. A
    # process forked from one with tasks.preload imported has it already.
    from tasks.preload import Run, train  # noqa: PLC0415

    imports_s = time.monotonic() - started
    if request.config.training.processes > 1:
        return _train_in_ranks(spec, request, channel, imports_s)
    use_one_gpu()
    channel.start()
    run = Run(spec, request, channel, Phases(channel), place=place)
    run.phases.note("imports", imports_s)
    return train(run)


def _train_in_ranks(
    spec: TrainingSpec,
    request: TrainingRequest,
    channel: SocketChannel,
    imports_s: float,
) -> Outcome:
    """Start the ranks and wait for them. They do not park: a resume of theirs is cold."""
    from tasks.out_of_memory import try_smaller  # noqa: PLC0415 (as above)
    from tasks.preload import Run, train  # noqa: PLC0415 (as above)
    from tasks.ranks.launch import run_ranks  # noqa: PLC0415 (as above)

    def attempt(channel: Channel, ranks: Ranks) -> Outcome:
        run = Run(spec, request, channel, Phases(channel), ranks)
        run.phases.note("imports", imports_s)
        return _outcome(lambda: train(run))

    while True:
        processes = request.config.training.processes
        outcome = run_ranks(processes, channel, Path(spec.job_dir), attempt, set_up_output)
        # Only the ranks know which phases ended: what does not load is tried in smaller pieces too.
        less = try_smaller(spec, request, outcome.error) if outcome.error else None
        if less is None:
            return outcome
        spec, request = less


def use_one_gpu() -> None:
    """A training of one process in a slot of several GPUs sees the first of them.

    With more in sight the Trainer would split each batch over them, another training than asked.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    first, _, others = visible.partition(",")
    if others:
        logger.info("This slot has several GPUs; the training is of one process and uses the first")
        os.environ["CUDA_VISIBLE_DEVICES"] = first


def read_request(job_dir: Path) -> TrainingRequest:
    """The request as admitted, without its secrets."""
    return TrainingRequest.model_validate_json((job_dir / REQUEST).read_bytes())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
