"""Small jobs on two slots, disturbed in every way that we know, and then looked at closely.

By default one short round, as part of all tests; ``make chaos`` is the long form.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.chaos.evidence import Evidence
from tests.chaos.plan import KILLS
from tests.chaos.soak import Soak
from tests.support.paths import REPOSITORY
from tests.support.stack import Stack
from tests.support.waiting import wait_for

SEED = int(os.environ.get("CHAOS_SEED", "1"))
JOBS = int(os.environ.get("CHAOS_JOBS", "20"))
ACTIONS = int(os.environ.get("CHAOS_ACTIONS", str(3 * JOBS)))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "0"))
"""Rounds with the next seeds are run until so many seconds are over; at least one is run."""

WITNESS = Path(__file__).parent / "witness"
KEPT = REPOSITORY / "build" / "chaos"
"""Where a round that failed leaves its logs, job folders and history."""


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 900)
def test_every_job_comes_to_rest_and_everybody_agrees(tmp_path: Path) -> None:
    ends_at = time.monotonic() + SECONDS
    seed = SEED
    while True:
        began = time.monotonic()
        tally = soak_once(seed, tmp_path / str(seed))
        print(f"CHAOS_SEED={seed}: {time.monotonic() - began:.0f} s, {tally}", flush=True)
        seed += 1
        if time.monotonic() >= ends_at:
            return


def soak_once(seed: int, witness: Path) -> str:
    """One round, in numbers; fails with the seed, what was done, and everything that is wrong."""
    witness.mkdir()
    environment = {"PYTHONPATH": str(WITNESS), "CHAOS_WITNESS": str(witness)}
    environment |= {"MAX_RESTARTS": "1000", "LEASE_SECONDS": "3", "CANCEL_GRACE_SECONDS": "5"}
    with Stack(slots=2, **environment) as stack:
        soak = Soak(stack, seed, jobs=JOBS, actions=ACTIONS)
        problems = []
        try:
            soak.disturb()
            soak.settle()
            evidence = Evidence(stack, soak.steps, witness)
            problems += evidence.problems()
            problems += [
                f"nothing was hit by: {kill}"
                for kill in sorted(KILLS - {f"kill {which}" for which in soak.killed})
            ]
            problems += end_workers(stack)
            wait_for("no slot is registered", lambda: not stack.slots_alive())
            problems += [f"is left: {p}" for p in stack.training_processes()]
        except BaseException as error:
            problems.append(f"{type(error).__name__}: {error}")
            raise
        finally:
            if problems:
                keep(seed, stack, witness, soak)
                print(f"CHAOS_SEED={seed} CHAOS_JOBS={JOBS} CHAOS_ACTIONS={ACTIONS}")
                print("\n".join([*soak.history, "", *problems]), flush=True)
        assert not problems, f"CHAOS_SEED={seed}: {problems}; see {KEPT / str(seed)}"
        return f"{evidence.tally()}; killed {', '.join(sorted(soak.killed))}"


def end_workers(stack: Stack) -> list[str]:
    """Told to stop, idle workers end; the log of one that does not has its stacks."""
    for worker in stack.workers:
        worker.terminate()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(worker.pid for worker in stack.workers):
        time.sleep(0.1)
    problems = []
    for worker in stack.workers:
        if worker.pid is not None:
            problems.append(f"{worker.name} did not end within 30 s")
            os.kill(worker.pid, signal.SIGUSR1)  # Celery writes its stacks
            time.sleep(1)
            worker.stop(1)
    return problems


def keep(seed: int, stack: Stack, witness: Path, soak: Soak) -> None:
    """Copy what explains a failed round out of the stack's folder."""
    target = KEPT / str(seed)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(
        stack.home,
        target,
        ignore=shutil.ignore_patterns("models", "cache", "*.safetensors", "*.pt", "*.pth"),
    )
    shutil.copytree(witness, target / "witness")
    (target / "history.txt").write_text("\n".join(soak.history))
    with (target / "store.txt").open("w") as out:
        for key in sorted(stack.redis.scan_iter("trainyard:job:*")):
            print(key, stack.redis.hgetall(key), file=out)
        for key in sorted(stack.redis.scan_iter("trainyard:events:*")):
            for entry in stack.redis.xrange(key):
                print(key, *entry, file=out)
