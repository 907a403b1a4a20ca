"""What stops a program, in a process of its own, by the signals themselves."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.hangup import children_hear_hangups

_WAITS = """
from trainyard.service import stop_signals
stop = stop_signals.stop_event()
print("ready", flush=True)
assert stop.wait(30)
print("stopped", flush=True)
"""
_IS_INTERRUPTED = """
import time
from trainyard.service import stop_signals
stop_signals.interrupt_on_stop_signals()
try:
    print("ready", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def ended(program: str, *numbers: signal.Signals, ignored: bool = False) -> str:
    """What a program that got the signals has printed."""
    with children_hear_hangups(ignored=ignored):
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
        )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in numbers:
            process.send_signal(number)
        return process.stdout.read()


@pytest.mark.parametrize("program", [_WAITS, _IS_INTERRUPTED])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_stops_it_in_order(program: str, number: signal.Signals) -> None:
    assert ended(program, number) == "stopped\n"


def test_under_nohup_the_end_of_the_terminal_is_nothing() -> None:
    program = _WAITS.replace("stop.wait(30)", "not stop.wait(0.3)")
    assert ended(program, signal.SIGHUP, ignored=True) == "stopped\n"
