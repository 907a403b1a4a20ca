"""Parking and leases in the process tree, with real processes and real signals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.process_tree import (
    DEADLINE_S,
    HAND_ON_OUTPUT,
    Attempt,
    OpenSlot,
    Slot,
    open_fds,
    output_from_there,
    running,
    slots,
)
from tests.support.waiting import wait_for
from worker.machine import memory
from worker.machine.process_tree import process_stat
from worker.slot_process.client import SlotUnavailable, release_parked, wait_gone
from worker.slot_process.protocol import Gone, Parked, Started

LONG_S = 60.0


@pytest.fixture
def open_slot(tmp_path: Path) -> Iterator[OpenSlot]:
    with slots(tmp_path, "parking_training:main") as open_one:
        yield open_one


@pytest.fixture
def slot(open_slot: OpenSlot) -> Slot:
    return open_slot()


def say(attempt: Attempt, words: str) -> None:
    attempt.events.sendall(f"{words}\n".encode())


def ask(attempt: Attempt, words: str) -> str:
    say(attempt, words)
    return hear(attempt)


def hear(attempt: Attempt) -> str:
    text = b""
    while not text.endswith(b"\n"):
        data = attempt.events.recv(4096)
        assert data, f"the training ended: {text!r}"
        text += data
    return text.decode().strip()


def park(attempt: Attempt, seconds: float = LONG_S, words: str = "park") -> int:
    """Park it as a supervisor does, which lets go of everything; returns the training's pid."""
    pid = attempt.training_pid
    assert ask(attempt, words) == "paused"
    attempt.handle.park(seconds)
    assert attempt.wait_message(Parked) == Parked()
    assert attempt.handle.ended
    attempt.close()
    return pid


def parked_pid(slot: Slot, *remembered: str, seconds: float = LONG_S) -> tuple[Attempt, int]:
    attempt = slot.start("park")
    for word in remembered:
        say(attempt, f"remember {word}")
    return attempt, park(attempt, seconds)


def is_alive(pid: int) -> bool:
    stat = process_stat(pid)
    return stat is not None and not stat.is_zombie


@contextlib.contextmanager
def all_to_die(*pids: int) -> Iterator[Callable[[], None]]:
    """Gives a function that waits until these processes, alive now, are dead."""
    pidfds = [os.pidfd_open(pid) for pid in pids]

    def wait() -> None:
        for pid, pidfd in zip(pids, pidfds, strict=True):
            assert select.select([pidfd], [], [], DEADLINE_S)[0], f"{pid} lives on"

    try:
        yield wait
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


def started(attempt: Attempt) -> Started:
    message = attempt.wait_message(Started)
    assert isinstance(message, Started)
    return message


# ---------------------------------------------------------------- parked


def test_a_parked_training_lives_on_without_its_supervisor(slot):
    attempt, pid = parked_pid(slot)
    assert not wait_gone(slot.name, attempt.id, 0.3)
    assert is_alive(pid)


def test_the_lifeline_of_a_parked_training_is_closed_and_no_message_follows(slot):
    attempt = slot.start("park")
    assert ask(attempt, "park") == "paused"
    attempt.handle.park(LONG_S)
    attempt.wait_message(Parked)
    wait_for("every message is read", lambda: attempt.handle.read_messages() == [])
    assert [type(message) for message in attempt.messages] == [Started, Parked]
    attempt.handle.terminate()
    attempt.handle.kill()
    assert is_alive(attempt.training_pid)


PARKING_SUPERVISOR = """
import os, select, socket, sys, time
from worker.slot_process.client import start_attempt
from worker.slot_process.protocol import Parked
events, theirs = socket.socketpair()
handle = start_attempt(sys.argv[1], "job:1", {}, theirs.fileno(), timeout_s=20)
events.sendall(b"park\\n")
assert events.recv(100) == b"paused\\n"
handle.park(60)
while sys.argv[2] == "read":
    select.select([handle], [], [])
    if Parked() in handle.read_messages():
        break
print("asked", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("answer", ["read", "not read"])
def test_the_death_of_the_supervisor_that_parked_is_harmless(slot, answer):
    """Also where it dies before it has read that it is parked."""
    with running(PARKING_SUPERVISOR, slot.name, answer) as supervisor:
        assert supervisor.stdout.readline() == "asked\n"
        supervisor.kill()
        supervisor.wait()
    assert not wait_gone(slot.name, "job:1", 0.3)
    assert release_parked(slot.name, "job:1", DEADLINE_S)


def test_children_of_a_parked_training_live_on_and_orphans_are_reaped(slot):
    attempt = slot.start("park")
    family = [int(pid) for pid in ask(attempt, "family").split()]
    keeper_pid = attempt.keeper_pid
    park(attempt)
    assert not wait_gone(slot.name, attempt.id, 0.3)
    assert all(map(is_alive, family))
    with all_to_die(*family, keeper_pid) as wait_until_dead:
        assert release_parked(slot.name, attempt.id, DEADLINE_S)
        wait_until_dead()


def test_another_attempt_runs_while_one_is_parked(slot):
    parked, pid = parked_pid(slot)
    other = slot.start("run")
    say(other, "exit 4")
    assert other.wait_end() == Gone(4, None, killed_descendants=0)
    assert started(other).warm is False
    assert not wait_gone(slot.name, parked.id, 0.3)
    assert is_alive(pid)


# ---------------------------------------------------------------- resumed


@pytest.mark.parametrize("preload", [True, False])
def test_resumed_it_goes_on_in_its_process_with_new_channels(slot, preload):
    first = slot.start("park", preload=preload)
    say(first, "remember blue")
    pid = park(first)
    second = slot.start("ignored", parked=first.id, preload=preload)
    message = started(second)
    assert (message.pid, message.warm, message.preloaded) == (pid, True, True)
    assert hear(second) == f"resumed as {second.id}"
    say(second, "remember green")
    assert ask(second, "tell") == "blue green"
    say(second, "exit 5")
    assert second.wait_end() == Gone(5, None, killed_descendants=0)
    assert second.output.text == "blue green\n"
    assert [type(message) for message in second.messages] == [Started, Gone]


def test_what_is_printed_while_nobody_reads_is_read_by_the_next_supervisor(slot, tmp_path):
    os.mkfifo(tmp_path / "words")
    first = slot.start("park")
    say(first, f"echo {tmp_path / 'words'}")
    with (tmp_path / "words").open("w", buffering=1) as words:
        words.write("before\n")
        first.output.wait_for("before\n")
        park(first)
        words.write("parked\n")
        second = slot.start("park", parked=first.id)
        second.output.wait_for("parked\n")
        words.write("after\n")
        second.output.wait_for("after\n")
    assert second.output.text == "parked\nafter\n"


def is_full(pipe: int) -> bool:
    waiting = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(waiting, sys.byteorder) == fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


@pytest.mark.parametrize("end", ["resumed", "released", "supervisor gone"])
def test_nobody_waits_for_ever_at_a_full_pipe(slot, end):
    first = slot.start("park")
    say(first, "flood")
    wait_for("the pipe is full", lambda: is_full(first.output.read_fd))
    if end == "supervisor gone":
        first.handle.close()
        assert slot.wait_gone(first)
        return
    park(first)
    if end == "released":
        assert release_parked(slot.name, first.id, DEADLINE_S)
    else:
        second = slot.start("park", parked=first.id)
        second.output.wait_for("flooded\n")


def test_a_resumed_attempt_is_known_by_its_new_id(slot):
    first, _ = parked_pid(slot)
    second = slot.start("park", parked=first.id)
    started(second)
    assert wait_gone(slot.name, first.id, DEADLINE_S)
    assert not wait_gone(slot.name, second.id, 0.1)
    # The old name does not reach it any more.
    assert release_parked(slot.name, first.id, DEADLINE_S)
    assert ask(second, "tell") == f"resumed as {second.id}"
    assert not release_parked(slot.name, second.id, 0.1), "a running attempt is not parked"
    assert is_alive(second.training_pid)


def test_a_resumed_training_dies_with_its_new_supervisor(slot):
    first = slot.start("park")
    family = [int(pid) for pid in ask(first, "family").split()]
    pid = park(first)
    second = slot.start("park", parked=first.id)
    assert started(second).pid == pid
    with all_to_die(pid, *family) as wait_until_dead:
        second.handle.close()
        wait_until_dead()
    assert slot.wait_gone(second)


RESUMING_SUPERVISOR = """
import os, select, socket, sys, time
from worker.slot_process.client import start_attempt
events, theirs = socket.socketpair()
handle = start_attempt(
    sys.argv[1], "job:2", {}, theirs.fileno(), timeout_s=20, parked=sys.argv[2])
select.select([handle], [], [])
print(handle.read_messages()[0].pid, flush=True)
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_resumed_training_dies_with_the_process_of_its_new_supervisor(slot):
    """Though a child of the supervisor holds the lifeline open."""
    first, pid = parked_pid(slot)
    with running(RESUMING_SUPERVISOR, slot.name, first.id) as supervisor:
        assert int(supervisor.stdout.readline()) == pid
        heir_pid = int(supervisor.stdout.readline())
        try:
            with all_to_die(pid) as wait_until_dead:
                supervisor.kill()
                wait_until_dead()
            assert wait_gone(slot.name, "job:2", DEADLINE_S)
        finally:
            os.kill(heir_pid, signal.SIGKILL)


def test_a_training_that_ends_as_soon_as_it_is_resumed_is_not_started_again(slot):
    for _ in range(10):
        first, pid = parked_pid(slot)
        second = slot.start("park", parked=first.id)
        say(second, "exit 6")
        assert second.wait_end() == Gone(6, None, killed_descendants=0)
        assert [getattr(message, "pid", None) for message in second.messages] == [pid, None]
        assert slot.wait_gone(second)


def test_resumes_that_cross_with_the_end_of_the_time_are_warm_or_cold_but_one(slot):
    warm = []
    for delay_ms in range(0, 60, 4):
        first, pid = parked_pid(slot, seconds=0.03)
        time.sleep(delay_ms / 1000)
        second = slot.start("park", parked=first.id)
        warm.append(started(second).warm)
        assert (second.training_pid == pid) is warm[-1]
        say(second, "exit 6")
        assert second.wait_end() == Gone(6, None, killed_descendants=0)
        assert [type(message) for message in second.messages] == [Started, Gone]
    assert not warm[-1]


def test_signals_reach_a_resumed_training(slot):
    first = slot.start("park")
    ask(first, "family")
    park(first)
    second = slot.start("park", parked=first.id)
    started(second)
    second.handle.terminate()
    gone = second.wait_message(Gone)
    assert gone == Gone(None, signal.SIGTERM, killed_descendants=2)


def test_many_rounds_leave_no_descriptor(slot):
    attempt, pid = parked_pid(slot)
    keeper_pid = process_stat(pid).parent_pid
    for _ in range(20):
        second = slot.start("park", parked=attempt.id)
        assert started(second).pid == pid
        assert hear(second) == f"resumed as {second.id}"
        assert park(second) == pid
        attempt = second
    # Control, parking and fork socket, the output, and both ends of the wakeup pipe.
    wait_for("the descriptors are closed", lambda: len(open_fds(keeper_pid) - {"0", "1", "2"}) == 6)
    # The standard ones, the listener, both ends of the wakeup pipe, the keeper's control socket.
    wait_for("the descriptors are closed", lambda: len(open_fds(slot.pid)) == 3 + 4)
    assert release_parked(slot.name, attempt.id, DEADLINE_S)
    wait_for("the descriptors are closed", lambda: len(open_fds(slot.pid)) == 3 + 3)


# ---------------------------------------------------------------- not parked any more


def is_cold(attempt: Attempt) -> bool:
    message = started(attempt)
    return not message.warm and ask(attempt, "tell") == ""


def test_a_resume_of_an_unknown_attempt_starts_cold(slot):
    assert is_cold(slot.start("park", parked="job:never"))


def test_a_resume_of_an_attempt_that_runs_starts_cold_and_leaves_it_alone(slot):
    first = slot.start("park")
    pid = first.training_pid
    assert is_cold(slot.start("park", parked=first.id))
    assert is_alive(pid)


def test_a_resume_after_the_time_is_up_starts_cold(slot):
    first, pid = parked_pid(slot, seconds=0.3)
    assert wait_gone(slot.name, first.id, DEADLINE_S)
    assert not is_alive(pid)
    assert is_cold(slot.start("park", parked=first.id))


def test_a_parked_training_that_dies_is_forgotten_with_its_children(slot):
    attempt = slot.start("park")
    family = [int(pid) for pid in ask(attempt, "family").split()]
    with all_to_die(attempt.keeper_pid, *family) as wait_until_dead:
        park(attempt, words="park_and_die 0.3")
        wait_until_dead()
    assert wait_gone(slot.name, attempt.id, DEADLINE_S)
    assert is_cold(slot.start("park", parked=attempt.id))


def test_a_resume_that_crosses_with_the_death_of_the_keeper_starts_cold(slot):
    """The slot process hands over before it knows that the keeper is dying or dead."""
    first, pid = parked_pid(slot)
    keeper_pid = process_stat(pid).parent_pid
    os.kill(keeper_pid, signal.SIGSTOP)
    second = slot.start("park", parked=first.id)
    assert not wait_gone(slot.name, second.id, 0.1), "it is about to start"
    assert second.handle.read_messages() == []
    os.kill(keeper_pid, signal.SIGKILL)
    assert is_cold(second)
    assert wait_gone(slot.name, first.id, DEADLINE_S)
    assert not is_alive(pid)


def test_a_resume_at_a_keeper_that_does_not_answer_starts_cold(slot):
    first, pid = parked_pid(slot)
    with all_to_die(pid) as wait_until_dead:
        os.kill(process_stat(pid).parent_pid, signal.SIGSTOP)
        assert is_cold(slot.start("park", parked=first.id))
        wait_until_dead()


def test_a_resume_of_a_training_that_just_died_starts_cold(slot):
    """Its death waits, unseen, with the resume: the keeper is frozen meanwhile."""
    first = slot.start("park")
    ask(first, "family")  # children, which hold the training's end of the parking socket
    pid = park(first)
    keeper_pid = process_stat(pid).parent_pid
    os.kill(keeper_pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    wait_for("the training has ended", lambda: process_stat(pid).is_zombie)
    second = slot.start("park", parked=first.id)
    wait_gone(slot.name, second.id, 0)  # handed over by now
    os.kill(keeper_pid, signal.SIGCONT)
    assert is_cold(second)


def test_a_supervisor_that_dies_while_it_resumes_leaves_nothing(slot):
    first, pid = parked_pid(slot)
    keeper_pid = process_stat(pid).parent_pid
    os.kill(keeper_pid, signal.SIGSTOP)
    second = slot.start("park", parked=first.id)
    wait_gone(slot.name, second.id, 0)
    second.handle.close()
    with all_to_die(pid, keeper_pid) as wait_until_dead:
        os.kill(keeper_pid, signal.SIGCONT)
        wait_until_dead()
    assert slot.wait_gone(second)


# ---------------------------------------------------------------- given up


def test_the_second_one_that_parks_ends_the_first(slot):
    first, first_pid = parked_pid(slot)
    second = slot.start("park")
    started(second)
    with all_to_die(first_pid) as wait_until_dead:
        second_pid = park(second)
        wait_until_dead()
    assert wait_gone(slot.name, first.id, DEADLINE_S)
    assert not wait_gone(slot.name, second.id, 0.3)
    assert is_alive(second_pid)


def test_release(slot):
    attempt, pid = parked_pid(slot)
    assert release_parked(slot.name, attempt.id, DEADLINE_S)
    assert not is_alive(pid)
    assert release_parked(slot.name, attempt.id, DEADLINE_S), "true also for an unknown one"


def test_release_of_what_is_about_to_park(slot):
    attempt = slot.start("park")
    pid = attempt.training_pid
    assert ask(attempt, "park") == "paused"
    os.kill(attempt.keeper_pid, signal.SIGSTOP)
    attempt.handle.park(LONG_S)
    attempt.close()
    assert not release_parked(slot.name, attempt.id, 0.1)
    with all_to_die(pid) as wait_until_dead:
        os.kill(attempt.keeper_pid, signal.SIGCONT)
        wait_until_dead()
    assert wait_gone(slot.name, attempt.id, DEADLINE_S)


def test_release_of_what_does_not_die_in_time_says_so(slot):
    attempt, pid = parked_pid(slot)
    keeper_pid = process_stat(pid).parent_pid
    os.kill(keeper_pid, signal.SIGSTOP)
    assert not release_parked(slot.name, attempt.id, 0.1)
    os.kill(keeper_pid, signal.SIGCONT)
    assert wait_gone(slot.name, attempt.id, DEADLINE_S)


def test_given_up_when_the_host_is_short_of_memory(open_slot, tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1000 kB\nMemAvailable: 101 kB\n")
    slot = open_slot(f"""
        from pathlib import Path
        from worker.machine import memory
        memory.MEMINFO = Path({str(meminfo)!r})
    """)
    attempt, pid = parked_pid(slot)
    assert not wait_gone(slot.name, attempt.id, 1.2)
    with all_to_die(pid) as wait_until_dead:
        short = tmp_path / "short"
        short.write_text("MemTotal: 1000 kB\nMemAvailable: 99 kB\n")
        short.rename(meminfo)
        wait_until_dead()
    assert wait_gone(slot.name, attempt.id, DEADLINE_S)


def test_the_slot_process_stopped(slot):
    attempt = slot.start("park")
    family = [int(pid) for pid in ask(attempt, "family").split()]
    pid = park(attempt)
    with all_to_die(pid, *family) as wait_until_dead:
        slot.process.stop(DEADLINE_S)
        wait_until_dead()
    with pytest.raises(SlotUnavailable):
        release_parked(slot.name, attempt.id, 0.1)


def test_the_slot_process_killed(slot):
    attempt = slot.start("park")
    family = [int(pid) for pid in ask(attempt, "family").split()]
    keeper_pid = attempt.keeper_pid
    pid = park(attempt)
    with all_to_die(pid, keeper_pid, *family) as wait_until_dead:
        os.kill(slot.pid, signal.SIGKILL)
        wait_until_dead()


MAIN_PROCESS = """
import signal, sys, time
from tests.support.process_tree import slot_command
from trainyard.child_process import ChildProcess
slot = ChildProcess("slot", slot_command(sys.argv[1], "parking_training:main", "json"))
slot.start()
signal.signal(signal.SIGUSR1, lambda *_: slot.stop(10))
print(slot.pid, flush=True)
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_the_main_process_gone(end):
    name = f"trainyard-test-{os.getpid()}-{end}"
    with running(MAIN_PROCESS, name) as main_process:
        slot_pid = int(main_process.stdout.readline())
        attempt = Attempt(name, "park", True, {})
        family = [int(pid) for pid in ask(attempt, "family").split()]
        pid = park(attempt)
        with all_to_die(slot_pid, pid, *family) as wait_until_dead:
            main_process.send_signal(signal.SIGKILL if end == "killed" else signal.SIGUSR1)
            wait_until_dead()


def test_the_keeper_killed_and_its_strays_are_ended(slot):
    attempt = slot.start("park")
    family = [int(pid) for pid in ask(attempt, "family").split()]
    keeper_pid = attempt.keeper_pid
    pid = park(attempt)
    with all_to_die(pid, *family) as wait_until_dead:
        os.kill(keeper_pid, signal.SIGKILL)
        wait_until_dead()
    assert wait_gone(slot.name, attempt.id, DEADLINE_S)
    assert is_cold(slot.start("park", parked=attempt.id))


# ---------------------------------------------------------------- the lease


def test_without_a_renewal_everything_is_killed(slot):
    attempt = slot.start("run")
    ask(attempt, "family")
    attempt.handle.set_lease(0.5)
    assert attempt.wait_end() == Gone(None, signal.SIGKILL, 2, error=None, lease_expired=True)
    assert slot.wait_gone(attempt)


def test_renewed_it_lives_on(slot):
    attempt = slot.start("run")
    pid = attempt.training_pid
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        attempt.handle.set_lease(2.0)
        time.sleep(0.1)
    assert is_alive(pid)
    say(attempt, "exit 0")
    assert attempt.wait_end() == Gone(0, None, killed_descendants=0)


def test_held_it_has_no_deadline(slot):
    attempt = slot.start("run")
    attempt.handle.set_lease(0.5)
    attempt.handle.set_lease(None)
    assert not wait_gone(slot.name, attempt.id, 1.0)
    attempt.handle.set_lease(0.2)
    assert attempt.wait_end().lease_expired


def test_neither_lease_nor_parking_time_follow_a_resumed_training(slot):
    first = slot.start("park")
    started(first)
    first.handle.set_lease(3.0)
    pid = park(first, seconds=3.0)
    second = slot.start("park", parked=first.id)
    assert started(second).pid == pid
    assert not wait_gone(slot.name, second.id, 3.5)
    second.handle.set_lease(0.2)
    assert second.wait_message(Gone).lease_expired


LEASING_SUPERVISOR = f"""{HAND_ON_OUTPUT}
import sys, time
from worker.slot_process.client import start_attempt
events, theirs = socket.socketpair()
handle = start_attempt(sys.argv[1], "job:1", {{}}, theirs.fileno(), timeout_s=20)
theirs.close()
hand_on_output(handle, int(sys.argv[2]))
events.sendall(b"family\\n")
while True:
    handle.set_lease(2.0)
    if events is not None:
        pids = events.recv(100).decode().strip()
        print(pids, flush=True)
        events = None
    time.sleep(0.1)
"""


def test_a_frozen_supervisor_keeps_nothing_running(slot):
    with (
        output_from_there() as (to, output_of),
        running(LEASING_SUPERVISOR, slot.name, to, pass_fds=(to,)) as supervisor,
    ):
        output = output_of()
        family = [int(pid) for pid in supervisor.stdout.readline().split()]
        with all_to_die(*family) as wait_until_dead:
            os.kill(supervisor.pid, signal.SIGSTOP)
            wait_until_dead()
            output.wait_until_all_are_dead()
            assert wait_gone(slot.name, "job:1", DEADLINE_S)
        assert process_stat(supervisor.pid).state == "T", "it was frozen all the time"


def test_a_keeper_that_does_not_read_does_not_hold_up_the_supervisor(slot):
    attempt = slot.start("run")
    keeper_pid = attempt.keeper_pid
    os.kill(keeper_pid, signal.SIGSTOP)
    for _ in range(5000):
        attempt.handle.set_lease(30.0)
    attempt.handle.kill()
    os.kill(keeper_pid, signal.SIGCONT)
    assert attempt.wait_end() == Gone(None, signal.SIGKILL, killed_descendants=0)


# ---------------------------------------------------------------- memory


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with enough memory and a control group ``/pod/box`` without a limit."""
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 5 kB\nMemAvailable: 500 kB\n")
    (tmp_path / "cgroup").write_text("4:memory:/old\n0::/pod/box\n")
    box = tmp_path / "fs" / "pod" / "box"
    box.mkdir(parents=True)
    for folder in (box, box.parent):
        (folder / "memory.max").write_text("max\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "OWN_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "CGROUP_ROOT", tmp_path / "fs")
    return tmp_path


def limit(folder: Path, *, mib: int, used_mib: int, cache_mib: int) -> None:
    (folder / "memory.max").write_text(f"{mib << 20}\n")
    (folder / "memory.current").write_text(f"{used_mib << 20}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cache_mib << 20}\n")


def test_no_shortage_without_a_limit(host):
    assert memory.shortage() is None


def test_the_host_is_short(host):
    (host / "meminfo").write_text("MemTotal: 1024000 kB\nMemAvailable: 102000 kB\n")
    assert memory.shortage() == "the host has 99 of 1000 MiB left"


@pytest.mark.parametrize("group", ["pod/box", "pod"])
@pytest.mark.parametrize(
    ("used_mib", "cache_mib", "shortage"),
    [
        (899, 0, None),
        (901, 0, "the control group has 99 of 1000 MiB left"),
        (990, 400, None),
    ],
)
def test_a_control_group_is_short(host, group, used_mib, cache_mib, shortage):
    limit(host / "fs" / group, mib=1000, used_mib=used_mib, cache_mib=cache_mib)
    assert memory.shortage() == shortage


def test_a_host_without_version_2_groups(host):
    (host / "cgroup").write_text("4:memory:/old\n")
    assert memory.shortage() is None


def test_this_host_can_be_asked():
    assert memory.shortage() is None or "MiB left" in str(memory.shortage())
