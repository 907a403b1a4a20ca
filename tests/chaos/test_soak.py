"""Soak: small jobs on two slots, disturbed in every way that we know, then looked at closely.

By default one short round, as part of all tests; ``make chaos`` is the long form.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.evidence import Evidence
from tests.chaos.plan import KINDS
from tests.chaos.soak import Soak
from tests.support.faked_clock import LIBRARIES, FakedClock
from tests.support.paths import REPOSITORY
from tests.support.small_disk import small_disk
from tests.support.stack import Stack
from tests.support.waiting import wait_for

SEED = int(os.environ.get("CHAOS_SEED", "1"))
JOBS = int(os.environ.get("CHAOS_JOBS", "20"))
ASKS = int(os.environ.get("CHAOS_ASKS", str(2 * JOBS)))
STRIKES = int(os.environ.get("CHAOS_STRIKES", "1"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "0"))
"""Rounds with the next seeds are run until so many seconds are over; at least one is run."""
LEAST = int(os.environ.get("CHAOS_LEAST", "0"))
"""So often each kind has to be struck in all, or the run proves nothing."""
SLIP_INS_LEAST = 5 * LEAST // 2

ASK_S = 5.0
"""For how long somebody waits for the bridge, which may be stopped."""
DISK_SIZE = "4g"
WITNESS = Path(__file__).parent / "witness"
KEPT = REPOSITORY / "build" / "chaos"
"""Where a round that failed leaves its logs, job folders and history."""


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 1800)
def test_every_job_comes_to_rest_and_everybody_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainyard.client.TIMEOUT_S", ASK_S)
    ends_at = time.monotonic() + SECONDS
    seed, struck, jobs, slip_ins = SEED, Counter(dict.fromkeys(KINDS, 0)), 0, 0
    wrong: dict[int, list[str]] = {}
    while True:
        began = time.monotonic()
        soak, tally, problems = soak_once(seed, tmp_path / str(seed))
        print(f"CHAOS_SEED={seed}: {time.monotonic() - began:.0f} s, {tally}", flush=True)
        if problems:
            wrong[seed] = problems
        seed, jobs = seed + 1, jobs + len(soak.steps)
        slip_ins += soak.slip_ins
        struck.update(soak.faults.struck)
        if time.monotonic() >= ends_at:
            break
    print(f"{jobs} jobs; {slip_ins} slip-ins; {struck.total()} faults; ", end="")
    print(f"wrong in {len(wrong)} of {seed - SEED} rounds:")
    print("\n".join(f"{count:5} {kind}" for kind, count in sorted(struck.items())), flush=True)
    assert not wrong, f"{wrong}; see {KEPT}"
    void = {kind: count for kind, count in struck.items() if count < LEAST}
    if slip_ins < SLIP_INS_LEAST:
        void["slip-in"] = slip_ins
    assert not void, f"VOID: nothing is wrong, but not each kind was struck {LEAST} times: {void}"


def soak_once(seed: int, folder: Path) -> tuple[Soak, str, list[str]]:
    """One round, in numbers, and everything that is wrong; prints then how to replay it."""
    witness = folder / "witness"
    witness.mkdir(parents=True)
    environment = {"PYTHONPATH": str(WITNESS), "CHAOS_WITNESS": str(witness)}
    environment |= {"MAX_RESTARTS": "1000", "LEASE_SECONDS": "3", "CANCEL_GRACE_SECONDS": "5"}
    environment["SLIP_INS_PER_HOUR"] = "1000"
    clock = FakedClock(folder / "clock") if LIBRARIES else None
    with (
        small_disk(folder / "disk", DISK_SIZE) as mounted,
        Stack(
            slots=2,
            separate_networks=True,
            within=folder / "disk",
            redis_environment=clock.environment if clock else None,
            **environment,
        ) as stack,
    ):
        soak = Soak(
            stack, seed, jobs=JOBS, asks=ASKS, strikes=STRIKES, clock=clock, small_disk=mounted
        )
        replay = f"CHAOS_SEED={seed} CHAOS_JOBS={JOBS} CHAOS_ASKS={ASKS} CHAOS_STRIKES={STRIKES}"
        problems: list[str] = []
        try:
            soak.disturb()
            soak.settle()
            evidence = Evidence(stack, soak.steps, witness, soak.faults.short_of_disk)
            problems += evidence.problems()
            soak.slip_ins = evidence.slip_ins()
            problems += end_workers(stack)
            wait_for("no slot is registered", lambda: not stack.slots_alive())
            problems += [f"is left: {p}" for p in stack.training_processes()]
        except BaseException as error:
            problems.append(f"{type(error).__name__}: {error}")
            raise
        finally:
            soak.faults.mend(now=True)
            if problems:
                write_stacks(stack)
                keep(seed, stack, witness, soak)
                print("\n".join([replay, *soak.history, "", *problems]), flush=True)
        lacking = f"; could not be struck here: {sorted(soak.faults.lacking)}"
        struck = f"{soak.faults.struck.total()} faults{lacking if soak.faults.lacking else ''}"
        return soak, f"{evidence.tally()}; {struck}", problems


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
    write_stacks(stack)
    for worker in stack.workers:
        worker.stop(1)
    return problems


def write_stacks(stack: Stack) -> None:
    """Of each worker that lives, into its log: Celery does so."""
    living = [worker.pid for worker in stack.workers if worker.pid is not None]
    for pid in living:
        os.kill(pid, signal.SIGUSR1)
    if living:
        time.sleep(1)


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
