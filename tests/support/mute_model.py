"""A trained model that nobody can finish to load: its configuration is a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.stack import Stack


class MuteModel:
    """The model of the job ``job_id``: who loads it waits until :meth:`speak`."""

    job_id = "mute"

    def __init__(self, stack: Stack) -> None:
        self._config = stack.home / "jobs" / self.job_id / "model" / "config.json"
        self._pipe = self._config.with_name("pipe")
        self._text = self._config.read_text()
        self._config.unlink()
        os.mkfifo(self._config)

    def speak(self) -> None:
        """Let who waits go on; later ones wait no more."""
        self.restore()
        self._pipe.write_text(self._text)  # waits for its reader

    def restore(self) -> None:
        """Make it a model like any other."""
        if self._config.is_fifo():
            self._config.rename(self._pipe)
            self._config.write_text(self._text)


@contextmanager
def mute_model(stack: Stack) -> Iterator[MuteModel]:
    """The job is trained the first time."""
    if stack.store.get(MuteModel.job_id) is None:
        stack.submit(MuteModel.job_id, steps=1)
        stack.wait(MuteModel.job_id, "completed")
    mute = MuteModel(stack)
    try:
        yield mute
    finally:
        mute.restore()
