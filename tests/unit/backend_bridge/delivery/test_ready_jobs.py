"""The queue between a forwarder's listener and its senders."""

from __future__ import annotations

import threading

from backend_bridge.delivery.ready_jobs import ReadyJobs

A, B, C = "abc"


def test_a_job_stands_in_it_once() -> None:
    jobs = ReadyJobs()
    for job in (A, B, A):
        jobs.offer(job)
    assert jobs.take(troubled_too=True) == A
    assert jobs.take(troubled_too=True) == B
    assert not jobs.others_wait()


def test_a_job_that_a_thread_works_on_is_not_handed_out_again() -> None:
    jobs = ReadyJobs()
    jobs.offer(A)
    assert jobs.take(troubled_too=True) == A
    jobs.offer(A)
    assert not jobs.others_wait()


def test_a_job_that_was_offered_while_a_thread_worked_on_it_comes_again_once() -> None:
    """The thread may have looked for the last time before the event that is why."""
    jobs = ReadyJobs()
    jobs.offer(A)
    jobs.take(troubled_too=True)
    for _ in range(3):
        jobs.offer(A)
    jobs.done(A, troubled=False)
    assert jobs.take(troubled_too=True) == A
    assert not jobs.others_wait()
    jobs.done(A, troubled=False)
    assert not jobs.others_wait()


def test_jobs_that_failed_wait_behind_the_others_and_for_some_threads_only() -> None:
    jobs = ReadyJobs()
    jobs.offer(A)
    jobs.take(troubled_too=True)
    jobs.done(A, troubled=True)
    for job in (A, B, C):
        jobs.offer(job)
    assert jobs.take(troubled_too=False) == B
    assert jobs.take(troubled_too=True) == C
    assert jobs.take(troubled_too=True) == A


def test_a_turn_that_learned_nothing_changes_nothing() -> None:
    jobs = ReadyJobs()
    for failed in (True, None):
        jobs.offer(A)
        jobs.take(troubled_too=True)
        jobs.done(A, troubled=failed)
    jobs.offer(A)
    jobs.offer(B)
    assert jobs.take(troubled_too=True) == B


def test_close_lets_waiting_threads_go() -> None:
    jobs = ReadyJobs()
    taken: list[str | None] = []
    thread = threading.Thread(target=lambda: taken.append(jobs.take(troubled_too=False)))
    thread.start()
    jobs.close()
    thread.join(30)
    assert taken == [None]
