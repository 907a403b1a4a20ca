"""Wait for a slot's name: a worker that lives keeps it, one that was killed is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from trainyard.scheduling.slot_leases import Holder, NameTaken, SlotLease
from worker import slot_lease
from worker.machine.process_tree import birth_of, has_ended
from worker.slot_lease import wait_for_name

ELSEWHERE = Holder("w", host="other", pid=7, birth="boot 1 2", home="h")


def wait(ask: Callable[[str], SlotLease | None], sleep: Callable[[float], object]) -> None:
    wait_for_name("box-0", "h", ask, attempt_lease_s=0, sleep=sleep)


def test_one_that_renews_keeps_it() -> None:
    ends = iter([100, 100, 200])
    with pytest.raises(
        NameTaken, match=r"the slot box-0 has a worker already: process 7 on other:"
    ):
        wait(lambda _: SlotLease(ELSEWHERE, next(ends)), lambda _: None)


def test_one_that_does_not_is_waited_for() -> None:
    leases = iter([SlotLease(ELSEWHERE, 100), SlotLease(ELSEWHERE, 100), None])
    slept: list[float] = []
    wait(lambda _: next(leases), slept.append)
    assert len(slept) == 2


def test_one_whose_training_lives_keeps_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_lease, "LEASE_S", 0)
    other = Holder("w", host="other", pid=7, birth="boot 1 2", home="another")
    with pytest.raises(NameTaken, match="over another TRAINYARD_HOME"):
        wait_for_name("box-0", "h", lambda _: SlotLease(other, 100), attempt_lease_s=0)


def test_who_is_told_to_stop_waits_no_longer() -> None:
    wait(lambda _: SlotLease(ELSEWHERE, 100), lambda _: True)


def test_one_that_was_killed_on_this_machine_is_not_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    killed = Holder("killed", "box", process.pid, birth_of(process.pid), "h")
    assert not has_ended(killed.pid, killed.birth)
    process.kill()
    process.communicate()

    def ask(gone: str) -> SlotLease | None:
        return None if gone == "killed" else SlotLease(killed, 100)

    wait(ask, lambda _: pytest.fail("it waits"))


def test_a_pid_that_was_given_to_another_is_no_sign_of_life() -> None:
    pid, birth = os.getpid(), birth_of(os.getpid())
    here = birth.rpartition(" ")[0]
    assert not has_ended(pid, birth)
    assert has_ended(pid, f"{here} 1")
    assert not has_ended(pid, "another-boot 1 1"), "of another machine nothing is known"
