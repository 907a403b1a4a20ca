"""Launch of several processes (ranks) for one training, on this host.

The training process that the keeper knows becomes the launcher: it forks one process per rank
(torch is imported already, CUDA untouched, and the event channel inherited), ends the others if
one fails, and tells the supervisor how the attempt ended. All are below the keeper, which ends them
all. The ranks meet at a file in the job's folder, where no other user of the host can join them.
Nothing is restarted here: that is the job store's to decide, from the last good checkpoint.
"""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch.distributed import FileStore  # type: ignore[attr-defined]  # re-exported unsaid
from torch.multiprocessing.spawn import ProcessExitedException, start_processes

from tasks.channel import Channel, SocketChannel
from tasks.errors import ConfigurationError
from tasks.ranks.channel import RankChannel
from tasks.ranks.output import RankOutput
from tasks.ranks.ranks import Ranks
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import Outcome
from trainyard.prctl import die_with_parent

RANKS_DIR_NAME = "ranks"
_MEET_TIMEOUT = timedelta(minutes=5)
_AT_ONCE = 0.0
_BLAME_TIMEOUT_S = 20.0
"""How long a rank that lost another one waits for the launcher to find out who failed first."""
_OF_ANOTHER_RANK = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")

Attempt = Callable[[Channel, Ranks], Outcome]
"""Runs the attempt in one rank; every error is in its Outcome."""


class RankEnd(BaseModel):
    """How one rank ended, in a file of its own; ``at``: time.monotonic()."""

    at: float
    outcome: Outcome


def check_room(processes: int, *, gpus: int, cores: int) -> None:
    """Raise ConfigurationError if this slot has less GPUs (without one: cores) than needed."""
    have, what = (gpus, "GPU") if gpus else (cores, "CPU core")
    if processes > have:
        raise ConfigurationError(
            f"config.training.distributed.processes is {processes}, and this slot has {have} "
            f"{what}{'' if have == 1 else 's'}.",
            f"Ask for at most {have} processes, or give the worker's slots more GPUs "
            "(GPUS_PER_SLOT).",
        )


def run_ranks(
    processes: int,
    channel: SocketChannel,
    job_dir: Path,
    attempt: Attempt,
    set_up: Callable[[], None],
) -> Outcome:
    """Run ``attempt`` in as many processes; returns the Outcome of all of them together.

    ``channel`` is not started yet: the first rank inherits it, and the caller goes on with it
    afterwards. ``set_up`` prepares a rank's output. Raises ConfigurationError if there is no
    room. If a rank is killed, so is this process, by the same signal: a crash like any other.
    """
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # counting must not initialise CUDA
    gpus = torch.cuda.device_count()
    check_room(processes, gpus=gpus, cores=len(os.sched_getaffinity(0)))
    folder = job_dir / RANKS_DIR_NAME
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    output = RankOutput(processes)
    meeting = _Meeting(processes, folder / "meeting", cuda=gpus > 0)
    rank = _Rank(meeting, channel, output, folder, attempt, set_up)
    _pass_on_stack_requests()
    output.start()
    try:
        failure = _wait_for(rank, processes)
    finally:
        output.finish()
    try:
        ends = [RankEnd.model_validate_json(p.read_bytes()) for p in sorted(folder.glob("end-*"))]
        return _why(failure, ends) if failure else ends[0].outcome
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(rank: _Rank, processes: int) -> ProcessExitedException | None:
    """Run the ranks until all have ended, or one has failed and the others are killed."""
    # It says whom it ends, for a reason that a rank has said.
    logging.getLogger("torch.multiprocessing").setLevel(logging.ERROR)
    context = start_processes(  # type: ignore[no-untyped-call]  # torch has no types there
        rank.run, nprocs=processes, join=False, start_method="fork"
    )
    try:
        while not context.join(grace_period=_AT_ONCE):
            pass
    except ProcessExitedException as failure:
        return failure
    return None


class _Meeting:
    """The place where ``count`` ranks meet: a store in a file."""

    def __init__(self, count: int, file: Path, *, cuda: bool) -> None:
        self.count = count
        self._file = file
        self._cuda = cuda

    def join(self, index: int) -> Ranks:
        """Meet the others, as rank ``index``, with a share of the cores."""
        # accelerate reads there who it is.
        for name, number in (("RANK", index), ("WORLD_SIZE", self.count)):
            os.environ[name] = os.environ[f"LOCAL_{name}"] = str(number)
        for backend in ("GLOO", "NCCL"):
            os.environ[f"{backend}_SOCKET_IFNAME"] = "lo"  # nobody but this host's ranks
        if not self._cuda:
            threads = max(1, torch.get_num_threads() // self.count)
            torch.set_num_threads(threads)
            os.environ["OMP_NUM_THREADS"] = str(threads)  # or accelerate chooses one
        store = FileStore(str(self._file), self.count)
        store.set_timeout(_MEET_TIMEOUT)
        return Ranks.join(index, self.count, store, cuda=self._cuda)


class _Rank:
    """One rank's way, from its fork to its end."""

    def __init__(
        self,
        meeting: _Meeting,
        channel: SocketChannel,
        output: RankOutput,
        folder: Path,
        attempt: Attempt,
        set_up: Callable[[], None],
    ) -> None:
        self._meeting = meeting
        self._channel = channel
        self._output = output
        self._folder = folder
        self._attempt = attempt
        self._set_up = set_up
        self._launcher_pid = os.getpid()

    def run(self, index: int) -> None:
        """Run the attempt in rank ``index``; how it ends is in its file. Exits with 1 if it fails.

        torch would keep what is raised here in a file that it leaves behind.
        """
        try:
            self._run(index)
        except Exception:
            traceback.print_exc()
            sys.exit(1)

    def _run(self, index: int) -> None:
        if not die_with_parent(signal.SIGKILL, self._launcher_pid):
            os._exit(1)
        self._output.connect(index)
        self._set_up()
        if index > 0:
            self._channel.forget()
            _say_less()
        else:
            self._channel.start()
        ranks = self._meeting.join(index)
        channel = RankChannel(ranks, self._channel if index == 0 else None)
        outcome = self._attempt(channel, ranks)
        failed = outcome.outcome == "failed"
        if failed and _comes_from_another(outcome):
            # The launcher is about to end this rank, because of the one that failed first.
            time.sleep(_BLAME_TIMEOUT_S)
        path = self._folder / f"end-{index}"
        partial = self._folder / f"partial-{index}"
        partial.write_text(RankEnd(at=time.monotonic(), outcome=outcome).model_dump_json())
        partial.rename(path)
        if not failed:
            ranks.leave()
        channel.finish()
        if failed:
            sys.exit(1)


def _comes_from_another(outcome: Outcome) -> bool:
    said = outcome.error.exception if outcome.error else ""
    return any(sign in said for sign in _OF_ANOTHER_RANK)


def _why(failure: ProcessExitedException, ends: list[RankEnd]) -> Outcome:
    """The failure that came first; another one may have been noticed."""
    told = [end for end in ends if end.outcome.outcome == "failed"]
    if told:
        return min(told, key=lambda end: end.at).outcome
    index, how = failure.error_index, failure.signal_name or f"exit code {failure.exit_code}"
    print(f"rank {index} ended with {how} and said nothing", file=sys.stderr)
    if failure.exit_code < 0:
        sys.stderr.flush()
        faulthandler.disable()  # the stacks that matter are the rank's, and are written
        os.kill(os.getpid(), -failure.exit_code)
    return Outcome(
        outcome="failed",
        error=ErrorReport(
            kind=ErrorKind.INTERNAL,
            message=f"Rank {index} of the training ended with exit code {failure.exit_code}.",
            hint="The job's log holds what it printed.",
        ),
    )


def _pass_on_stack_requests() -> None:
    """A SIGUSR1 of the supervisor asks for the stacks of what hangs: those are the ranks'."""

    def pass_on(*_: Any) -> None:
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, signal.SIGUSR1)

    faulthandler.unregister(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, pass_on)


def _say_less() -> None:
    """What every rank would say in the same words is said by the first one."""
    for name in ("tasks", "trainyard"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger().setLevel(logging.WARNING)
