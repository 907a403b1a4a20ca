"""Entry of the process that generates: ``main(questions_fd)``, or ``python -m`` with the number.

One question a line, each with where its job's files lie; what is said goes back as JSON lines. It
ends when nobody holds the other end.
"""

from __future__ import annotations

import select
import socket
import sys
import traceback
from collections import deque
from collections.abc import Iterator

from pydantic import BaseModel

from tasks.errors import report
from tasks.output import set_up_output
from tasks.runner import use_one_gpu
from trainyard.contract.generation.messages import CANCEL, GenerationSpec, NotGenerated

_READ_BYTES = 1 << 16


class Questions:
    """The socket to the worker."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._bytes = b""
        self._lines = deque[str]()
        """What has been read and is not yet looked at."""

    def say(self, said: BaseModel) -> None:
        """Raises OSError if nobody is there any more."""
        self._socket.sendall(said.model_dump_json().encode() + b"\n")

    def is_cancelled(self) -> bool:
        """Whether anything has come meanwhile: nothing but a cancel does, or the end."""
        return CANCEL in self._lines or bool(select.select([self._socket], [], [], 0)[0])

    def lines(self) -> Iterator[str]:
        """Questions until the other end is closed; cancels of what has ended are passed over."""
        while data := self._socket.recv(_READ_BYTES):
            *lines, self._bytes = (self._bytes + data).split(b"\n")
            self._lines.extend(line.decode() for line in lines)
            while self._lines:
                if (line := self._lines.popleft()) != CANCEL:
                    yield line


def main(questions_fd: int) -> int:
    """Answer until the worker lets go. Returns the exit code."""
    set_up_output()
    use_one_gpu()
    # Late: what the preload sets has to be set before the libraries are imported.
    import tasks.preload  # noqa: F401, PLC0415
    from tasks.generation.answer import Answers  # noqa: PLC0415

    with socket.socket(fileno=questions_fd) as connection:
        connection.setblocking(True)
        questions = Questions(connection)
        answers = Answers(questions.say, questions.is_cancelled)
        for line in questions.lines():
            try:
                answers.answer(GenerationSpec.model_validate_json(line))
            except Exception as error:
                traceback.print_exc()
                found = report(error)
                answers.forget()
                questions.say(NotGenerated(error=found.message, hint=found.hint))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
