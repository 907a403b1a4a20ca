"""The process tree with real processes and real signals."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
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
from worker.machine.process_tree import children_of, descendants_of, process_stat
from worker.slot_process.client import KeeperLost, SlotUnavailable, start_attempt, wait_gone
from worker.slot_process.protocol import Gone, Started, StartRefused, StillAlive

FAMILY_SIZE = 5
"""Processes that ``stubborn_training._start_family`` leaves running."""


@pytest.fixture
def open_slot(tmp_path: Path) -> Iterator[OpenSlot]:
    with slots(tmp_path, "stubborn_training:main") as open_one:
        yield open_one


@pytest.fixture
def slot(open_slot: OpenSlot) -> Slot:
    return open_slot()


# ---------------------------------------------------------------- how an attempt ends


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize(
    ("behaviour", "env", "exit_code", "signum"),
    [
        ("exit_with_code", {"EXIT_CODE": "0"}, 0, None),
        ("exit_with_code", {"EXIT_CODE": "3"}, 3, None),
        ("system_exit", {}, 7, None),
        ("raise_error", {}, 1, None),
        ("die_by_signal", {"SIGNAL": str(int(signal.SIGKILL))}, None, signal.SIGKILL),
        ("die_by_signal", {"SIGNAL": str(int(signal.SIGSEGV))}, None, signal.SIGSEGV),
    ],
)
def test_reports_how_the_training_ended(slot, preload, behaviour, env, exit_code, signum):
    attempt = slot.start(behaviour, preload=preload, **env)
    assert attempt.wait_end() == Gone(exit_code, signum, killed_descendants=0)
    assert attempt.wait_message(Started).preloaded is preload
    assert slot.wait_gone(attempt)


def test_error_and_crash_leave_their_traceback_in_the_output(slot):
    failing = slot.start("raise_error")
    failing.wait_end()
    assert "LookupError: no such thing as a loss below zero" in failing.output.text
    crashing = slot.start("die_by_signal", SIGNAL=str(int(signal.SIGSEGV)))
    crashing.wait_end()
    assert "before the end\n" in crashing.output.text
    assert "in die_by_signal" in crashing.output.text


def test_children_left_behind_are_killed_at_a_normal_exit(slot):
    attempt = slot.start("leave_children")
    assert attempt.wait_end() == Gone(0, None, killed_descendants=FAMILY_SIZE)


def test_terminate_reaches_the_training(slot):
    attempt = slot.start("sleep")
    attempt.output.wait_for("ready")
    attempt.handle.terminate()
    assert attempt.wait_end() == Gone(None, signal.SIGTERM, killed_descendants=0)


def test_kill_ends_what_ignores_terminate(slot):
    attempt = slot.start("spin_with_family")
    attempt.output.wait_for("ready")
    attempt.handle.terminate()
    assert len(descendants_of(attempt.keeper_pid)) == 1 + FAMILY_SIZE
    attempt.handle.kill()
    assert attempt.wait_end() == Gone(None, signal.SIGKILL, killed_descendants=FAMILY_SIZE)
    assert slot.wait_gone(attempt)


def test_a_killed_tree_leaves_no_temporary_folder(slot):
    attempt = slot.start("name_temp_folders")
    attempt.output.wait_for("ready")
    words = attempt.output.text.split()
    (folder,) = {word for before, word in itertools.pairwise(words) if before == "folder"}
    assert Path(folder).is_dir()
    attempt.handle.kill()
    attempt.wait_end()
    assert slot.wait_gone(attempt)
    assert not Path(folder).exists()


def test_asking_an_ended_attempt_for_anything_does_nothing(slot):
    attempt = slot.start("exit_with_code", EXIT_CODE="0")
    attempt.wait_end()
    assert slot.wait_gone(attempt)
    attempt.handle.kill()
    attempt.handle.terminate()
    assert attempt.handle.read_messages() == []


def test_threads_that_outlive_the_main_thread_are_killed(slot):
    attempt = slot.start("lose_main_thread")
    attempt.output.wait_for("ready")
    wait_for("the training has ended", lambda: process_stat(attempt.training_pid).is_zombie)
    attempt.handle.kill()
    assert attempt.wait_end().signal == signal.SIGKILL


@pytest.mark.parametrize("new_sessions", ["", "1"])
def test_a_training_that_forks_without_pause_is_caught(slot, new_sessions):
    attempt = slot.start("fork_without_pause", NEW_SESSIONS=new_sessions)
    attempt.output.wait_for("ready")
    attempt.handle.kill()
    attempt.wait_end()


def test_says_who_does_not_die_and_goes_on_trying(open_slot):
    # Stands in for uninterruptible sleep, which a test cannot bring about: the first kills miss.
    slot = open_slot("""
        import time
        from worker.slot_process import keeper
        keeper._STUCK_AFTER_S = 0.2
        kill, first = keeper.kill_descendants, []
        def kill_late():
            first.append(time.monotonic())
            return kill() if time.monotonic() > first[0] + 0.5 else set()
        keeper.kill_descendants = kill_late
    """)
    attempt = slot.start("spin_with_family")
    attempt.output.wait_for("ready")
    attempt.handle.kill()
    stuck = attempt.wait_message(StillAlive)
    assert attempt.training_pid in stuck.pids
    assert len(stuck.pids) == 1 + FAMILY_SIZE
    assert attempt.wait_end().signal == signal.SIGKILL
    assert [type(m) for m in attempt.messages] == [Started, StillAlive, Gone]


# ---------------------------------------------------------------- who may die


def test_supervisor_lets_go_and_everything_ends(slot):
    attempt = slot.start("spin_with_family")
    attempt.output.wait_for("ready")
    attempt.handle.close()
    attempt.output.wait_until_all_are_dead()
    assert slot.wait_gone(attempt)


SUPERVISOR = f"""{HAND_ON_OUTPUT}
import os, sys, time
from worker.slot_process.client import start_attempt
events, theirs = socket.socketpair()
env = {{"BEHAVIOUR": "spin_with_family"}}
handle = start_attempt(sys.argv[1], "job:1", env, theirs.fileno(), timeout_s=20)
hand_on_output(handle, int(sys.argv[2]))
if sys.argv[3:] == ["fork"]:
    child = os.fork()
    if child:
        print(child, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("heir", [(), ("fork",)])
def test_supervisor_killed_and_everything_ends(slot, heir):
    """Also where a child of the supervisor, alive, still holds the lifeline."""
    heir_pid = None
    with (
        output_from_there() as (to, output_of),
        running(SUPERVISOR, slot.name, to, *heir, pass_fds=(to,)) as supervisor,
    ):
        try:
            output = output_of()
            output.wait_for("ready")
            if heir:
                heir_pid = int(supervisor.stdout.readline())
            supervisor.kill()
            output.wait_until_all_are_dead()
            assert wait_gone(slot.name, "job:1", DEADLINE_S)
        finally:
            if heir_pid is not None:
                os.kill(heir_pid, signal.SIGKILL)


def test_slot_process_killed_and_everything_ends(slot):
    attempt = slot.start("spin_with_family")
    attempt.output.wait_for("ready")
    os.kill(slot.pid, signal.SIGKILL)
    assert attempt.wait_end().signal == signal.SIGKILL


MAIN_PROCESS = """
import os, sys, time
from tests.support.process_tree import slot_command
from trainyard.child_process import ChildProcess
slot = ChildProcess("slot", slot_command(sys.argv[1], "stubborn_training:main", "json"))
slot.start()
print(slot.pid, flush=True)
time.sleep(60)
"""


def test_main_process_killed_and_everything_ends():
    name = f"trainyard-test-{uuid.uuid4().hex}"
    with running(MAIN_PROCESS, name) as main_process:
        slot_fd = os.pidfd_open(int(main_process.stdout.readline()))
        attempt = Attempt(name, "spin_with_family", True, {})
        with contextlib.closing(attempt):
            attempt.output.wait_for("ready")
            main_process.kill()
            assert attempt.wait_end().signal == signal.SIGKILL
            assert select.select([slot_fd], [], [], DEADLINE_S)[0], "the slot process lives on"
        os.close(slot_fd)


STUBBORN_MAIN_PROCESS = f"""
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
{MAIN_PROCESS.replace('"json"', '"slow_import"')}
"""


def test_main_process_killed_during_the_import(tmp_path):
    """Whatever signals the main process ignores or blocks."""
    (tmp_path / "slow_import.py").write_text(
        "print('importing', flush=True); import time; time.sleep(60)"
    )
    name = f"trainyard-test-{uuid.uuid4().hex}"
    with running(STUBBORN_MAIN_PROCESS, name, modules=tmp_path) as main_process:
        slot_fd = os.pidfd_open(int(main_process.stdout.readline()))
        assert main_process.stdout.readline() == "importing\n"
        main_process.kill()
        assert select.select([slot_fd], [], [], DEADLINE_S)[0], "the slot process lives on"
        os.close(slot_fd)


def test_keeper_killed_and_its_strays_are_ended(slot):
    attempt = slot.start("spin_with_family")
    other = slot.start("sleep")
    attempt.output.wait_for("ready")
    other.output.wait_for("ready")
    os.kill(attempt.keeper_pid, signal.SIGKILL)
    attempt.wait_message(KeeperLost)
    assert attempt.handle.read_messages() == []
    attempt.output.wait_until_all_are_dead()
    assert slot.wait_gone(attempt)
    # The neighbour is none of its business.
    assert not wait_gone(slot.name, other.id, 0.1)
    assert children_of(slot.pid) == [other.keeper_pid]
    other.handle.terminate()
    assert other.wait_end() == Gone(None, signal.SIGTERM, killed_descendants=0)


def test_the_training_dies_with_its_keeper_whatever_the_slot_process_does(slot):
    attempt = slot.start("spin_with_family")
    attempt.output.wait_for("ready")
    training_fd = os.pidfd_open(attempt.training_pid)
    keeper_pid, slot_pid = attempt.keeper_pid, slot.pid
    os.kill(slot_pid, signal.SIGSTOP)
    try:
        os.kill(keeper_pid, signal.SIGKILL)
        assert select.select([training_fd], [], [], DEADLINE_S)[0], "the training lives on"
    finally:
        os.kill(slot_pid, signal.SIGCONT)
        os.close(training_fd)
    assert slot.wait_gone(attempt)


def test_stopping_the_slot_process_ends_the_attempts_and_says_so(slot):
    attempts = [slot.start("spin_with_family") for _ in range(2)]
    for attempt in attempts:
        attempt.output.wait_for("ready")
    slot.process.stop(DEADLINE_S)
    for attempt in attempts:
        assert attempt.wait_end() == Gone(
            None, signal.SIGKILL, killed_descendants=FAMILY_SIZE, slot_gone=True
        )
    with pytest.raises(SlotUnavailable):
        wait_gone(slot.name, attempts[0].id, 0.1)


def test_a_stopped_keeper_does_not_keep_the_slot_process_from_ending(slot):
    attempt = slot.start("spin_with_family")
    attempt.output.wait_for("ready")
    os.kill(attempt.keeper_pid, signal.SIGSTOP)
    slot.process.stop(DEADLINE_S)
    attempt.output.wait_until_all_are_dead()
    attempt.wait_message(KeeperLost)


def test_a_slot_process_that_died_is_started_again(slot):
    first = slot.pid
    assert slot.process.ensure_running() is False
    assert wait_gone(slot.name, "job:none", DEADLINE_S)
    os.kill(first, signal.SIGKILL)
    wait_for("the slot process has ended", lambda: slot.process.pid is None)
    wait_for(
        "another one is started", slot.process.ensure_running
    )  # not within a second of its start
    assert slot.pid != first
    assert slot.start("exit_with_code", EXIT_CODE="5").wait_end().exit_code == 5


# ---------------------------------------------------------------- what a training is given


@pytest.mark.parametrize("preload", [True, False])
def test_what_a_training_is_given(slot, preload):
    attempt = slot.start("describe", preload=preload, CUDA_VISIBLE_DEVICES="3")
    attempt.wait_end()
    assert attempt.output.text.splitlines() == [
        "env 3 yes",
        "session True",
        "default handlers True",
        "blocked []",
        "argv True",
        "other channels []",
        f"preloaded {preload}",
    ]


def test_variables_of_an_attempt_are_its_own(slot):
    slot.start("describe", CUDA_VISIBLE_DEVICES="3").wait_end()
    second = slot.start("describe")
    second.wait_end()
    assert "env None yes" in second.output.text


@pytest.mark.parametrize("preload", [True, False])
def test_output_and_events_arrive(slot, preload):
    attempt = slot.start("echo", preload=preload)
    attempt.events.sendall(b"hello\n")
    assert attempt.events.recv(100) == b"echo hello\n"
    attempt.wait_end()
    assert attempt.output.text.splitlines() == [
        "printed é",
        "to stderr",
        "raw",
        "from a program",
        "stdin ''",
    ]
    assert attempt.events.recv(100) == b""


def test_log_handlers_made_during_the_preload_write_to_the_output(open_slot):
    slot = open_slot("""
        import logging, sys
        logging.getLogger("library").addHandler(logging.StreamHandler())
        import stubborn_training
        def log(events_fd):
            logging.getLogger("library").warning("from the handler")
            print("after it")
        stubborn_training.log = log
    """)
    attempt = slot.start("log")
    attempt.wait_end()
    assert attempt.output.text == "from the handler\nafter it\n"


# ---------------------------------------------------------------- whether to fork


def importing_until(file: Path) -> str:
    """Source of a preload that takes until ``file`` is there."""
    return f"""
import pathlib, time
while not pathlib.Path({str(file)!r}).exists():
    time.sleep(0.01)
"""


def test_a_request_during_the_import_waits_and_is_forked(open_slot, tmp_path):
    go_on = tmp_path / "go-on"
    slot = open_slot(importing_until(go_on))
    attempt = slot.start("exit_with_code", EXIT_CODE="0")
    assert attempt.handle.read_messages() == []
    go_on.touch()
    attempt.wait_end()
    assert attempt.wait_message(Started).preloaded is True


def test_a_supervisor_that_died_during_the_import_starts_nothing(open_slot, tmp_path):
    go_on = tmp_path / "go-on"
    slot = open_slot(f"""
import os
{importing_until(go_on)}
os.register_at_fork(before=pathlib.Path(os.environ["SLOT_LOG"]).touch)
""")
    attempt = slot.start("sleep")
    attempt.handle.close()
    go_on.touch()
    assert slot.wait_gone(attempt)
    assert not slot.log.exists()


THREAD = (
    "import threading, time; threading.Thread(target=time.sleep, args=[60], daemon=True).start()"
)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(THREAD, id="Python thread"),
        pytest.param("raise ImportError('torch is broken')", id="failing preload"),
        pytest.param(
            "import sys, types\n"
            "cuda = types.SimpleNamespace(is_initialized=lambda: True)\n"
            "sys.modules['torch'] = types.SimpleNamespace(cuda=cuda)\n",
            id="CUDA initialised",
        ),
    ],
)
def test_an_unsafe_slot_process_starts_fresh_interpreters(open_slot, source):
    attempt = open_slot(source).start("describe")
    assert attempt.wait_end().exit_code == 0
    assert attempt.wait_message(Started).preloaded is False
    assert "preloaded False" in attempt.output.text


def test_a_thread_that_the_preload_did_not_leave_forbids_forking():
    # In a process of its own: other tests leave threads of libraries in this one.
    script = """
import _thread, os
from tests.support.waiting import wait_for
from worker.slot_process.fork_safety import ForkSafety

safety = ForkSafety()
assert safety.objection() is None, safety.objection()
read, write = os.pipe()
_thread.start_new_thread(os.read, (read, 1))  # unknown to `threading`, as a native thread is
wait_for("the thread is seen", lambda: "1 thread(s) started after" in (safety.objection() or ""))
os.write(write, b"x")
wait_for("the thread has ended", lambda: safety.objection() is None)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPOSITORY)


def test_no_preload_imports_nothing_and_starts_fresh_interpreters(open_slot):
    slot = open_slot("import os; open(os.environ['SLOT_LOG'], 'w').close()", preload=False)
    attempt = slot.start("exit_with_code", EXIT_CODE="0")
    assert attempt.wait_end().exit_code == 0
    assert attempt.wait_message(Started).preloaded is False
    assert not slot.log.exists()


# ---------------------------------------------------------------- the slot process as a server


def test_attempts_leave_no_zombie_and_no_descriptor(slot):
    for number in range(30):
        attempt = slot.start(
            "leave_children" if number % 10 == 0 else "exit_with_code", EXIT_CODE="0"
        )
        attempt.wait_end()
        assert slot.wait_gone(attempt)
    # The standard ones, the listener and the two ends of the wakeup pipe.
    wait_for("the descriptors are closed", lambda: len(open_fds(slot.pid)) == 3 + 3)
    assert children_of(slot.pid) == []


def test_a_keeper_holds_no_write_end_of_its_attempt_s_output_and_no_other_lifeline(slot):
    attempts = [slot.start("sleep") for _ in range(2)]
    for attempt in attempts:
        attempt.output.wait_for("ready")
        # Its lifeline, control, parking and fork socket, the output's read end, both ends of its
        # wakeup pipe and the supervisor's pidfd.
        wait_for(
            "the descriptors are closed",
            lambda pid=attempt.keeper_pid: len(open_fds(pid) - {"0", "1", "2"}) == 8,
        )


@pytest.mark.parametrize("preload", [True, False])
def test_a_training_is_given_fresh_processes_when_it_asks(slot, preload):
    attempt = slot.start("ask_a_fresh_process", preload=preload)
    assert attempt.wait_end().exit_code == 0
    said = ["True", "True", "JSONDecodeError", "None", "took too long", "died"]
    assert attempt.output.text.splitlines() == said


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize("who", ["training", "keeper", "slot process", "supervisor"])
def test_a_fresh_process_that_hangs_ends_with_what_it_belongs_to(slot, who, preload):
    attempt = slot.start("wait_for_a_fresh_process", preload=preload)
    training = attempt.training_pid
    children = wait_for(
        "there is another",
        lambda: len(found := children_of(attempt.keeper_pid)) == 2 and found,
    )
    (fresh,) = set(children) - {training}
    ended = os.pidfd_open(fresh)
    killed = {"training": training, "keeper": attempt.keeper_pid, "slot process": slot.pid}
    if who == "supervisor":
        attempt.handle.close()
    else:
        os.kill(killed[who], signal.SIGKILL)
    assert select.select([ended], [], [], DEADLINE_S)[0], "it lives on"
    os.close(ended)
    if who == "training":
        assert attempt.wait_end().signal == signal.SIGKILL


@pytest.mark.parametrize(
    ("text", "descriptors"),
    [
        (b"no JSON\n", 0),
        (b"[" * 60_000 + b"\n", 0),
        (b'{"op":"kill"}\n', 0),
        (b'{"op":"resumed"}\n', 1),
        (b'{"op":"fork"}\n', 0),
        (b'{"op":"fork"}\n', 2),
        (b"half a", 1),
    ],
)
def test_a_keeper_outlives_what_its_training_writes_to_it(slot, text, descriptors):
    attempt = slot.start("write_on_the_fork_socket", TEXT=text.hex(), DESCRIPTORS=str(descriptors))
    assert attempt.wait_end() == Gone(3, None, killed_descendants=0)
    assert attempt.output.text.splitlines() == ["died"]


def test_orphans_are_reaped_while_the_training_runs(slot):
    attempt = slot.start("orphan_some")
    attempt.output.wait_for("ready")
    wait_for(
        "only the training is left",
        lambda: children_of(attempt.keeper_pid) == [attempt.training_pid],
    )


def test_the_same_attempt_twice_is_refused(slot):
    attempt = slot.start("sleep")
    attempt.output.wait_for("ready")
    events, theirs = socket.socketpair()
    with events, theirs:
        arguments = (slot.name, attempt.id, {}, theirs.fileno())
        with start_attempt(*arguments, timeout_s=DEADLINE_S) as second:
            select.select([second], [], [], DEADLINE_S)
            assert second.read_messages() == [StartRefused(f"{attempt.id} is still running")]
            assert second.ended
    assert process_stat(attempt.training_pid) is not None


@pytest.mark.parametrize(
    "request_line",
    [
        b"nonsense\n",
        b'{"op": "start", "attempt_id": "job:1", "env": {"HF_TOKEN": ["hf_secret"]}}\n',
        b'{"op": "start", "attempt_id": "job:1"}\n',
        b'{"op": "dance"}\n',
        b'{"op": "gone", "exit_code": 0, "signal": null, "killed_descendants": 0}\n',
        b'{"op": "wait_gone", "attempt_id": "job:1", "timeout_s": "hf_secret"}\n',
        b'{"op": "wait_gone", "attempt_id": "job:1"}\n',
        b'{"op": "wait_gone", "attempt_id": "job:1", "timeout_s": 1, "hf": "hf_secret"}\n',
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_harms_nobody(slot, request_line):
    wait_gone(slot.name, "job:none", DEADLINE_S)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(b"\0" + slot.name.encode())
        connection.sendall(request_line)
        answer = connection.makefile("rb").readline()
    assert json.loads(answer)["op"] == "refused"
    assert b"hf_secret" not in answer
    assert slot.start("exit_with_code", EXIT_CODE="0").wait_end().exit_code == 0


def test_a_silent_connection_holds_nobody_up(slot):
    wait_gone(slot.name, "job:none", DEADLINE_S)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(b"\0" + slot.name.encode())
        silent.sendall(b'{"op": "st')
        assert slot.start("exit_with_code", EXIT_CODE="0").wait_end().exit_code == 0


def test_wait_gone_waits(slot):
    attempt = slot.start("sleep")
    attempt.output.wait_for("ready")
    assert not wait_gone(slot.name, attempt.id, 0.2)
    attempt.handle.close()
    assert slot.wait_gone(attempt)


def test_no_slot_process_is_a_clear_error():
    with pytest.raises(SlotUnavailable, match="no slot process listens at trainyard-nobody"):
        wait_gone("trainyard-nobody", "job:1", 0.1)
    with pytest.raises(SlotUnavailable, match="no slot process listens"):
        start_attempt("trainyard-nobody", "job:1", {}, 2, timeout_s=0.1)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be someone else")
NOBODY = 65534

FOREIGN_CLIENT = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(b"\\0" + sys.argv[1].encode())
    try:
        connection.sendall(b'{"op": "wait_gone", "attempt_id": "job:1", "timeout_s": 0}\\n')
        print(connection.recv(100))
    except (BrokenPipeError, ConnectionResetError):
        print(b"")
"""
FOREIGN_SERVER = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(b"\\0" + sys.argv[1].encode())
    listener.listen()
    print("listening", flush=True)
    connection, _ = listener.accept()
    print(connection.recv(100), flush=True)
"""


@needs_root
def test_a_client_of_another_user_is_refused(slot):
    wait_gone(slot.name, "job:none", DEADLINE_S)
    with running(FOREIGN_CLIENT, slot.name, NOBODY) as client:
        assert client.stdout.readline() == "b''\n"


@needs_root
def test_a_server_of_another_user_is_told_nothing():
    name = f"trainyard-test-{uuid.uuid4().hex}"
    with running(FOREIGN_SERVER, name, NOBODY) as server:
        assert server.stdout.readline() == "listening\n"
        with pytest.raises(SlotUnavailable, match="belongs to uid 65534"):
            start_attempt(name, "job:1", {"HF_TOKEN": "secret"}, 2, timeout_s=DEADLINE_S)
        assert server.stdout.readline() == "b''\n"
