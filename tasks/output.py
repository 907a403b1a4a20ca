"""Output of a training process: the level on every line of a record, and stacks at a signal."""

from __future__ import annotations

import faulthandler
import io
import logging
import signal
import sys
import traceback
import warnings


def set_up_output() -> None:
    """Lines as they are made, the level in each of a record, and stacks where they are needed.

    If native code crashes, and at SIGUSR1, which a supervisor sends to a training that makes no
    step: written by the signal handler itself, so that code that never returns does not delay it.
    """
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    records = logging.StreamHandler(sys.stderr)
    records.setFormatter(LevelOnEveryLine())
    logging.basicConfig(level=logging.INFO, handlers=[records], force=True)
    logging.captureWarnings(True)
    warnings.formatwarning = _one_line
    # PEFT asks by a name of transformers that is going away: nobody who trains can mend that.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    for noisy in ("httpx", "urllib3", "filelock", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def print_traceback(error: BaseException, said: str) -> None:
    """Print where ``error`` was raised; its own sentence only if it is not in what is ``said``."""
    text = "".join(traceback.format_exception(error))
    own, sentence = "".join(traceback.format_exception_only(error)), " ".join(str(error).split())
    if sentence and sentence in " ".join(said.split()):
        text = text.removesuffix(own)
    print(text, end="", file=sys.stderr)


class LevelOnEveryLine(logging.Formatter):
    """A record as lines that each begin with its level, those of its traceback as well.

    The log is taken, cut and searched by lines.
    """

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).splitlines() or [""]
        return "\n".join(f"{record.levelname} {line}" for line in lines)


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return f"{category.__name__}: {message} ({filename}:{lineno})"
