"""Output to a pipe that is full, or that nobody reads: the writer goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from trainyard.cli.output import TEXTS_WAITING_MAX, PatientOutput


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


def test_what_is_read_arrives(pipe: tuple[int, int]) -> None:
    read, write = pipe
    with os.fdopen(os.dup(write), "w", encoding="ascii") as stream:
        output = PatientOutput(stream)
    print("a line, and one that ASCII lacks: \u00fc", file=output)
    output.drain()
    assert os.read(read, 100) == b"a line, and one that ASCII lacks: ?\n"


def test_nobody_reads_any_more(pipe: tuple[int, int]) -> None:
    read, write = pipe
    with os.fdopen(os.dup(write), "w") as stream:
        output = PatientOutput(stream)
    os.close(read)
    for _ in range(10):
        print("x", file=output)
    output.drain()


def test_a_full_pipe_keeps_nobody_waiting(pipe: tuple[int, int]) -> None:
    _, write = pipe
    with os.fdopen(os.dup(write), "w") as stream:
        output = PatientOutput(stream)
    for _ in range(2 * TEXTS_WAITING_MAX):
        print("x" * 1000, file=output)


def test_a_descriptor_that_was_closed_from_the_start() -> None:
    output = PatientOutput(None)
    print("x", file=output)
    output.drain()
    assert not output.isatty()
