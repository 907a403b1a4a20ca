"""Stop signals: Ctrl-C, SIGTERM, and SIGHUP, which the end of a terminal or an SSH session sends.

All three mean the same: stop in order. What was started with ``nohup`` stays deaf to SIGHUP.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


def on_stop_signals(handler: Handler) -> None:
    """Let ``handler`` take every signal that stops a program."""
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    _on_hangup(handler)


def stop_event() -> threading.Event:
    """An event that is set when this process is told to stop."""
    stop = threading.Event()
    on_stop_signals(lambda *_: stop.set())
    return stop


def interrupt_on_stop_signals() -> None:
    """Whatever stops this process raises KeyboardInterrupt, as Ctrl-C does."""
    on_stop_signals(signal.default_int_handler)


def hangup_is_sigterm() -> None:
    """For servers that look after SIGINT and SIGTERM themselves, whenever they do."""
    _on_hangup(lambda *_: signal.raise_signal(signal.SIGTERM))


def _on_hangup(handler: Handler) -> None:
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)
