"""Small trainings for the tests of the process tree, chosen by the variable ``BEHAVIOUR``."""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.util import get_temp_dir
from pathlib import Path

from tasks import fresh_process


def main(events_fd: int) -> int:
    """Entry point, as ``tasks.runner:main`` is."""
    return int(globals()[os.environ["BEHAVIOUR"]](events_fd) or 0)


def exit_with_code(events_fd: int) -> int:
    return int(os.environ["EXIT_CODE"])


def raise_error(events_fd: int) -> int:
    raise LookupError("no such thing as a loss below zero")


def system_exit(events_fd: int) -> int:
    sys.exit(7)


def die_by_signal(events_fd: int) -> None:
    print("before the end")
    os.kill(os.getpid(), int(os.environ["SIGNAL"]))


def echo(events_fd: int) -> None:
    """Answer one line on the event channel, and write to both outputs in three ways."""
    with socket.socket(fileno=events_fd) as events:
        request = events.makefile("r").readline()
        events.sendall(f"echo {request}".encode())
    print("printed é", flush=False)
    print("to stderr", file=sys.stderr)
    os.write(1, b"raw\n")
    subprocess.run(["echo", "from a program"], check=True)
    print("stdin", repr(sys.stdin.read()))


def describe(events_fd: int) -> None:
    """Print what a training process is given."""
    print("env", os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("INHERITED"))
    print("session", os.getsid(0) == os.getpid())
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGCHLD)]
    print("default handlers", handlers == [signal.SIG_DFL] * 2)
    print("blocked", sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    print("argv", sys.argv[1:] == [str(events_fd)])
    links = {int(fd.name): _target(fd) for fd in Path("/proc/self/fd").iterdir()}
    sockets = [os.environ[f"TRAINYARD_{name}_FD"] for name in ("PARKING", "FORK")]
    known = {0, 1, 2, events_fd, *map(int, sockets)}
    print("other channels", [t for fd, t in links.items() if fd not in known and ":" in t])
    print("preloaded", "worker.slot_process" in str(sys.modules["__main__"].__spec__))


def name_temp_folders(events_fd: int) -> None:
    """Print multiprocessing's folder, here and in a process of its own, then spin."""
    child = multiprocessing.get_context("fork").Process(target=_print_temp_folder)
    child.start()
    child.join()
    _print_temp_folder()
    print("ready")
    time.sleep(3600)


def _print_temp_folder() -> None:
    print("folder", get_temp_dir(), flush=True)


def _target(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except FileNotFoundError:  # the descriptor that listed the folder
        return ""


def ask_a_fresh_process(events_fd: int) -> None:
    """What it says to questions, one after the other; the last one kills it."""
    for number in range(2):
        found = fresh_process.ask("json:loads", f'[{number}, "{os.getpid()}"]', 30, lambda: None)
        print(found == [number, str(os.getpid())])
    print(fresh_process.ask("json:loads", "no JSON", 30, lambda: None).error[:15])
    slow = _SlowToRead(3)
    print(fresh_process.ask("builtins:str", slow, slow.seconds - 0.1, lambda: None))
    try:
        fresh_process.ask("time:sleep", 60, 0.2, lambda: None)
    except fresh_process.TookTooLong:
        print("took too long")
    try:
        fresh_process.ask("signal:raise_signal", signal.SIGKILL, 30, lambda: None)
    except fresh_process.FreshProcessDied:
        print("died")


def write_on_the_fork_socket(events_fd: int) -> int:
    """Something with so many descriptors; then ask for a process."""
    text, count = bytes.fromhex(os.environ["TEXT"]), int(os.environ["DESCRIPTORS"])
    with socket.socket(fileno=os.dup(int(os.environ[fresh_process.FD_VARIABLE]))) as keeper:
        socket.send_fds(keeper, [text], [1] * count)
        keeper.recv(1)  # until that is read
    try:
        fresh_process.ask("json:loads", "1", 30, lambda: None)
    except fresh_process.FreshProcessDied:
        print("died")
    return 3


def wait_for_a_fresh_process(events_fd: int) -> None:
    """It hangs."""
    fresh_process.ask("time:sleep", 600, 600, lambda: None)


class _SlowToRead:
    """A question that takes so long to be read; then it is None."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __reduce__(self) -> tuple[Callable[[float], None], tuple[float]]:
        return time.sleep, (self.seconds,)


def sleep(events_fd: int) -> None:
    """Wait for SIGTERM."""
    print("ready")
    while True:
        time.sleep(60)


def lose_main_thread(events_fd: int) -> None:
    """Leave a process whose main thread has ended while another one goes on."""
    threading.Thread(target=time.sleep, args=[60]).start()
    print("ready")
    sys_exit = {"x86_64": 60, "aarch64": 93}[platform.machine()]
    ctypes.CDLL(None).syscall(sys_exit, 0)


def orphan_some(events_fd: int) -> None:
    """Make orphans that end while the training goes on."""
    for _ in range(3):
        subprocess.run(["setsid", "-f", "true"], check=True)
    sleep(events_fd)


def leave_children(events_fd: int) -> int:
    """Exit normally, but leave stubborn processes behind."""
    _start_family()
    print("ready")
    return 0


def spin_with_family(events_fd: int) -> None:
    """Ignore SIGTERM, have every kind of child, and spin where no Python signal handler runs."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _start_family()
    print("ready")
    sum(itertools.repeat(1))


def fork_without_pause(events_fd: int) -> None:
    """A process that is always another one: each generation forks the next one and exits."""
    if os.fork() == 0:
        for generation in itertools.count(1):
            if os.environ.get("NEW_SESSIONS"):
                os.setsid()
            if os.fork() != 0:
                os._exit(0)
            if generation == 20:
                print("ready")
    time.sleep(60)


def grow_family(events_fd: int) -> None:
    """A family of any shape, drawn from ``SEED``: see ``_Relative``."""
    rng = random.Random(int(os.environ["SEED"]))
    for _ in range(rng.randint(1, 3)):
        _Relative(rng.random(), generations=2).start()
    print("ready")
    _Relative(rng.random(), generations=0).live(flees=False)


class _Relative:
    """A process with habits that make it hard to end, and children with habits of their own."""

    def __init__(self, seed: float, generations: int) -> None:
        self._random = random.Random(seed)
        self._generations = generations

    def start(self) -> None:
        if os.fork() != 0:
            return
        if self._perhaps(0.3):
            os.setsid()
        elif self._perhaps(0.3):
            os.setpgid(0, 0)
        if self._perhaps(0.3) and os.fork() != 0:  # a daemon: orphaned at once
            os._exit(0)
        if self._perhaps(0.2):
            for standard_fd in (0, 1, 2):
                os.close(standard_fd)
        for _ in range(self._random.randint(0, 2) if self._generations else 0):
            _Relative(self._random.random(), self._generations - 1).start()
        self.live()

    def live(self, *, flees: bool = True) -> None:
        """Ignore every signal that can be, and stay."""
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if signum not in (signal.SIGCHLD, 32, 33) and self._perhaps(0.8):
                signal.signal(signum, signal.SIG_IGN)
        ways = [self._sleep, self._sleep, self._spin, self._stand]
        self._random.choice([*ways, self._flee] if flees else ways)()
        os._exit(0)

    def _sleep(self) -> None:
        time.sleep(60)

    def _spin(self) -> None:
        sum(itertools.repeat(1))

    def _stand(self) -> None:
        """Stopped, as by a debugger or Ctrl-Z."""
        os.kill(os.getpid(), signal.SIGSTOP)

    def _flee(self) -> None:
        """Be always another process."""
        for _ in range(2000):
            if self._perhaps(0.5):
                os.setsid()
            if os.fork() != 0:
                return

    def _perhaps(self, probability: float) -> bool:
        return self._random.random() < probability


def _start_family() -> None:
    """Leave five processes running; returns when all of them are there."""
    read_fd, write_fd = os.pipe()
    if os.fork() == 0:  # a loader worker, with a child of its own
        os.fork()
        _ignore_and_sleep(write_fd)
    if os.fork() == 0:  # in a session of its own
        os.setsid()
        _ignore_and_sleep(write_fd)
    if os.fork() == 0:  # a daemon: orphaned at once, in a session of its own
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _ignore_and_sleep(write_fd)
    os.wait()  # the daemon's first half (no other child ends)
    subprocess.run(["setsid", "-f", "sleep", "60"], check=True)
    for _ in range(4):
        os.read(read_fd, 1)


def _ignore_and_sleep(ready_fd: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(ready_fd, b"x")
    while True:
        time.sleep(60)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
