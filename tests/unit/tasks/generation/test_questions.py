"""Questions to the process that generates, and their cancels."""

from __future__ import annotations

import socket

from tasks.generation.process import Questions
from trainyard.contract.generation.messages import CANCEL


def test_a_cancel_that_comes_with_its_question_is_heard() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(f"{CANCEL}\none\n{CANCEL}\n".encode())
        questions = Questions(here)
        asked = questions.lines()
        assert next(asked) == "one"
        assert questions.is_cancelled()
        there.sendall(b"two\n")
        assert next(asked) == "two"
        assert not questions.is_cancelled()
        there.sendall(CANCEL.encode())
        assert questions.is_cancelled()
        there.shutdown(socket.SHUT_WR)
        assert list(asked) == []
