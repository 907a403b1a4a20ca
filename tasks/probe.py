"""Probe of a slot: what every training needs, tried in a process like a training's.

    python -m tasks.probe FD

It writes to the home, and trains one step on the device that a training would take. A slot takes
jobs only after that, so that one that is of no use fails none.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import traceback
from pathlib import Path

from tasks.errors import report
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import Outcome, ProbeSpec


def main(events_fd: int) -> int:
    """Try it, and report one Outcome over the socket ``events_fd``; returns the exit code."""
    with socket.socket(fileno=events_fd) as channel, channel.makefile("rb") as lines:
        outcome = try_slot(ProbeSpec.model_validate_json(lines.readline()))
        channel.sendall(outcome.model_dump_json(exclude_none=True).encode() + b"\n")
    return 0 if outcome.outcome == "completed" else 1


def try_slot(spec: ProbeSpec) -> Outcome:
    """Whatever fails becomes the reason why the slot takes no jobs."""
    try:
        _write_to(Path(spec.home))
    except OSError as error:
        said = f"{spec.home} cannot be written to ({error.strerror})"
        return Outcome(outcome="failed", error=ErrorReport(kind=ErrorKind.DISK_FULL, message=said))
    try:
        trained_on = _train_one_step(spec.gpu_expected)
    except Exception as error:  # the one place where any is caught, as in a training
        traceback.print_exc()
        return Outcome(outcome="failed", error=report(error))
    return Outcome(outcome="completed", result={"device": trained_on})


def _write_to(home: Path) -> None:
    with tempfile.TemporaryFile(dir=home, prefix=".probe-") as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())


def _train_one_step(gpu_expected: str) -> str:
    """One step of gradient descent on each device of the slot; returns the first one's name."""
    import torch  # noqa: PLC0415 - in a process forked from the preload it is there already

    from tasks.arguments.machine import Machine  # noqa: PLC0415 (as above)

    machine = Machine.here(gpu_expected)
    gpus = [torch.device("cuda", n) for n in range(torch.cuda.device_count())]
    for device in gpus if machine.cuda else [torch.device("cpu")]:
        model = torch.nn.Linear(16, 16).to(device)
        model(torch.ones(4, 16, device=device)).square().mean().backward()
        for weight in model.parameters():
            stepped = weight.detach() - 0.1 * (weight.grad if weight.grad is not None else 0)
            if not torch.isfinite(stepped).all():
                raise ArithmeticError(f"a step on {device} gives weights that are no numbers")
    return machine.device_name


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
