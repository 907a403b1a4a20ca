"""Records of Python's logging keep their level, on every line that they become."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from tasks.output import LevelOnEveryLine, print_traceback
from tests.support.paths import REPOSITORY

RECORDS = """
import logging, warnings
from tasks.runner import set_up_output
set_up_output()
from tasks.library_logs import quiet_libraries
quiet_libraries()
for name in ("trainyard", "transformers.x", "datasets.x", "huggingface_hub.x", "accelerate.x"):
    logging.getLogger(name).warning("%s one\\ntwo\\n\\nfour", name)
warnings.warn("by warnings\\nin two lines")
try:
    [].pop()
except IndexError:
    logging.getLogger("some.library").exception("it broke")
"""


def test_every_line_of_a_record_has_its_level_and_none_is_there_twice() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RECORDS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    lines = done.stderr.splitlines()
    for name in ("trainyard", "transformers.x", "datasets.x", "huggingface_hub.x", "accelerate.x"):
        assert lines[:4] == [f"WARNING {text}" for text in (f"{name} one", "two", "", "four")]
        lines = lines[4:]
    assert lines[0] == "WARNING UserWarning: by warnings"
    assert lines[1].startswith("WARNING in two lines (")
    assert lines[2:4] == ["ERROR it broke", "ERROR Traceback (most recent call last):"]
    assert lines[-1] == "ERROR IndexError: pop from empty list"
    assert {line.partition(" ")[0] for line in lines[2:]} == {"ERROR"}


@pytest.mark.parametrize(
    ("said", "times"), [("The data set is empty. Fill it.", 0), ("The disk is full.", 1)]
)
def test_a_sentence_that_is_said_is_not_in_the_traceback_too(
    capsys: pytest.CaptureFixture[str], said: str, times: int
) -> None:
    try:
        raise ValueError("The data set is empty.")
    except ValueError as error:
        print_traceback(error, said)
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback (most recent call last):\n")
    assert printed.count("ValueError: The data set is empty.") == times


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_record_without_words_is_a_line_still(text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, text, None, None)
    assert LevelOnEveryLine().format(record) == "INFO "
