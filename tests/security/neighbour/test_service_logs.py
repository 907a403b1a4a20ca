"""Logs of the services: whoever makes a service complain fills no disk and forges no line."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from trainyard import service_logs
from trainyard.child_process import ChildProcess
from trainyard.redaction import RedactedFormatter, Redactor
from trainyard.service_logs import (
    OF_A_KIND_MAX,
    OneLineFormatter,
    Repeated,
    printable,
    service_formatter,
)
from worker.slot_process.stderr_lines import say


def record(text: str, *arguments: object, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord("asyncio", level, "", 0, text, arguments, None)


def test_an_error_that_repeats_is_said_once_a_minute() -> None:
    now = [0.0]
    repeated = Repeated(lambda: now[0])
    said = [repeated.filter(record("accept failed: %s", "no descriptors")) for _ in range(10_000)]
    assert sum(said) == 1
    now[0] = 61.0
    next_one = record("accept failed: %s", "no descriptors")
    assert repeated.filter(next_one)
    assert next_one.getMessage() == "accept failed: no descriptors (and 9,999 times before)"
    assert not repeated.filter(record("accept failed: %s", "no descriptors"))


def test_errors_of_a_kind_are_bounded_too() -> None:
    repeated = Repeated(lambda: 0.0)
    said = sum(repeated.filter(record("connection of %d refused", n)) for n in range(10_000))
    assert said == OF_A_KIND_MAX
    assert repeated.filter(record("another kind"))
    assert all(repeated.filter(record("news", level=logging.INFO)) for _ in range(9))


def test_the_slot_process_says_what_repeats_once(capsys: pytest.CaptureFixture[str]) -> None:
    refusal = "slot process: connection refused: the process belongs to uid 1001, 100% not to us"
    for _ in range(1000):
        say(refusal)
    assert capsys.readouterr().err == f"{refusal}\n"


def test_flower_says_what_repeats_once(tmp_path: Path) -> None:
    code = (
        "import logging\nfrom flower.command import apply_options\napply_options('flower', [])\n"
        "for _ in range(1000): logging.getLogger('tornado').error('no %s', 'more\\nfiles')\n"
        "for name in ('conf', 'stats', 'registered', 'active_queues'):\n"
        "    logging.getLogger('flower.inspector').warning('Inspect method %s failed', name)"
    )
    environment = {"REDIS_URL": "redis://127.0.0.1:1", "TRAINYARD_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    line, rest, at_its_start = done.stderr.splitlines()
    assert line.endswith(" flower ERROR no more")
    assert rest == "    files"
    assert at_its_start.endswith(" flower WARNING no worker has answered Flower yet")


@pytest.mark.parametrize("formatter", [OneLineFormatter(), RedactedFormatter(None, Redactor())])
def test_control_characters_are_shown(formatter: logging.Formatter) -> None:
    shown = formatter.format(record("job %s", "a\x1b[31m\r\x00\nERROR forged \u2028 line"))
    assert shown == "job a\\x1b[31m\\x0d\\x00\n    ERROR forged \\x2028 line"


def test_a_line_of_a_service_says_when_and_how_bad() -> None:
    told = record("it failed")
    told.created = 0.0
    assert service_formatter("courier").format(told) == (
        f"1970-01-01T00:00:00Z courier {told.levelname} it failed"
    )


def test_lines_of_a_traceback_are_kept_apart() -> None:
    try:
        raise ValueError("a\nERROR forged")
    except ValueError:
        failed = record("it failed")
        failed.exc_info = sys.exc_info()
    lines = OneLineFormatter("x %(message)s").format(failed).splitlines()
    assert lines[0] == "x it failed"
    assert [line for line in lines[2:] if not line.startswith("    ")] == []
    assert printable("a\nb") == "a\n    b"


def test_a_log_begins_anew_when_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_logs, "LOG_BYTES_MAX", 10_000)
    log = tmp_path / "bridge.log"
    program = "import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.0005)"
    child = ChildProcess("chatty", [sys.executable, "-c", program], log_file=log)
    child.start()
    try:
        older = log.with_name("bridge.log.1")
        while not older.exists():
            child.ensure_running()
        before = log.stat().st_size
        while log.stat().st_size <= before < 10_000:
            assert child.pid is not None
        assert older.stat().st_size > 10_000
        assert "x" in child.recent_output()
    finally:
        child.kill()
