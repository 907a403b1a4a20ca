"""Doubt about a slot, from the pool child to the main process and back."""

from __future__ import annotations

import os
import time

from worker.doubt import Doubt


def test_the_main_process_hears_of_a_loss_in_its_child() -> None:
    doubt = Doubt()
    pid = os.fork()
    if pid == 0:
        doubt.lost()
        doubt.wait_until_heard(give_up=lambda: False)
        os._exit(0 if doubt.losses == 1 else 1)
    while not doubt.take():
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not doubt.take()
    assert doubt.losses == 1
    doubt.trusted()
    assert doubt.losses == 0


def test_a_worker_that_stops_waits_for_nobody() -> None:
    doubt = Doubt()
    doubt.lost()
    doubt.wait_until_heard(give_up=lambda: True)
    assert doubt.take()


def test_memory_that_is_owed_is_a_doubt_until_it_is_paid() -> None:
    doubt = Doubt()
    assert doubt.memory_before is None
    doubt.memory_before = 0
    assert (doubt.memory_before, doubt.take()) == (0, True)
    doubt.memory_before = None
    assert (doubt.memory_before, doubt.take()) == (None, False)
