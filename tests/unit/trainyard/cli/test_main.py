"""The command line against a bridge that says what the test wants: output, JSON, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from backend_bridge.api.responses import JobAnswer
from tests.support.command_line import trainyard
from tests.support.fake_bridge import Call, FakeBridge
from tests.support.paths import REPOSITORY
from tests.support.ports import free_port
from tests.support.requests import request_body
from trainyard.client import BridgeClient, BridgeError
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.statuses import JobStatus
from trainyard.contract.verdicts import Verdict, VerdictKind
from trainyard.settings import settings
from trainyard.store.job import Job


def in_its_own_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """For commands that take the process's signals and output for their own."""
    command = [sys.executable, "-m", "trainyard.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def a_job(**fields: Any) -> dict[str, Any]:
    job = Job(
        "job-1", JobStatus.RUNNING, 1, 0.0, 0.0, **{"name": "math", "model": "tiny", **fields}
    )
    return JobAnswer.of(job, None).model_dump(mode="json")


def page(lines: list[str], *, offset: int = 0, cut: int = 0, total: int | None = None) -> Any:
    total = offset + len(lines) if total is None else total
    return {"logs": lines, "offset": offset, "lines_cut": cut, "total_lines": total, "limit": 100}


# ---------------------------------------------------------------- submit


def test_submit_says_where_the_job_stands_and_what_is_ignored(
    bridge: FakeBridge, tmp_path: Path
) -> None:
    answer = {"job_id": "job-1", "status": "queued", "queue_position": 3, "ignored": ["config.x"]}
    bridge.answers["POST", "/api/training/execute"] = 200, answer
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request_body()))
    done = trainyard("submit", str(file))
    assert (done.exit_code, done.stdout) == (0, "job-1 is queued, position 3\n")
    assert done.stderr == "ignored: config.x\n"
    assert bridge.calls[0].body == request_body()
    as_json = trainyard("submit", "--json", "-", stdin=json.dumps(request_body()))
    assert json.loads(as_json.stdout) == answer


@pytest.mark.parametrize("text", ["", "{", "\udcff"])
def test_submit_of_what_is_no_json(bridge: FakeBridge, tmp_path: Path, text: str) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(text.encode(errors="surrogateescape"))
    done = trainyard("submit", str(file))
    assert done.exit_code == 1
    assert "is no JSON" in done.stderr
    assert bridge.calls == []


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((409, {"error": "concurrent job limit reached (1)"}), "concurrent job limit reached (1)"),
        ((404, {"message": "there is no job x"}), "there is no job x"),
        ((401, {"detail": "a key is missing"}), "a key is missing"),
        ((502, "<html>Bad Gateway</html>"), "it answered 502 and no JSON object"),
        ((200, "hello"), "it answered 200 and no JSON"),
        ((500, {}), "it answered 500"),
        ((500, ["odd"]), "is no bridge: it answered 500"),
        ((200, ["odd"]), "is no bridge"),
    ],
)
@pytest.mark.parametrize("command", ["status", "logs", "metrics", "cancel"])
def test_an_error_is_one_sentence_and_exit_code_1(
    bridge: FakeBridge, command: str, answer: tuple[int, Any], sentence: str
) -> None:
    method = "POST" if command == "cancel" else "GET"
    bridge.answers[method, f"/api/training/{command}/x"] = answer
    done = trainyard(command, "x")
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert done.stderr.startswith("trainyard: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_errors_of_a_job_with_its_traceback_and_its_attempts(bridge: FakeBridge) -> None:
    frame = {"file": "a.py", "line": 3, "function": "f", "code": "raise \x1b[31mx"}
    one = {"kind": "dataset", "message": "No rows.", "hint": "Add some.", "exception": "ValueError"}
    attempt = {**one, "traceback": [frame], "attempt": 2, "at": "2026-01-01T00:00:00Z"}
    answer = {**one, "traceback": [frame], "status": "failed", "attempts": [attempt]}
    bridge.answers["GET", "/api/training/x/errors"] = 200, answer
    done = trainyard("errors", "x")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "attempt 2, 2026-01-01T00:00:00Z: dataset: No rows."
    for words in ("a.py:3 in f", "ValueError", "hint: Add some."):
        assert words in done.stdout
    attempt["exception"] = "tasks.errors.DatasetError: No rows. Add some."
    told = trainyard("errors", "x").stdout
    assert (told.count("No rows."), told.count("Add some.")) == (1, 1), "all is said once"
    assert "\x1b" not in done.stdout
    assert json.loads(trainyard("errors", "x", "--json").stdout) == answer
    well = {**dict.fromkeys(one), "status": "running", "attempts": []}
    bridge.answers["GET", "/api/training/x/errors"] = 200, well
    assert trainyard("errors", "x").stdout == "x is running: no attempt of it has failed\n"


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def interrupted_at_a_prompt(*_: Any, **__: Any) -> Any:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise click.Abort from None


def refused_at_a_prompt(*_: Any, **__: Any) -> Any:
    raise click.Abort


@pytest.mark.parametrize(
    ("ended", "code"),
    [(interrupted, 130), (interrupted_at_a_prompt, 130), (refused_at_a_prompt, 1)],
)
def test_ctrl_c_is_exit_code_130_and_a_no_is_none(
    monkeypatch: pytest.MonkeyPatch, ended: Any, code: int
) -> None:
    monkeypatch.setattr(BridgeClient, "jobs", ended)
    assert trainyard("ps").exit_code == code


def test_wrong_settings_are_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_PORT", "x")
    monkeypatch.setenv("SLOTS", "y")
    done = trainyard("ps")
    assert done.exit_code == 2
    assert "BRIDGE_PORT" in done.stderr
    assert "SLOTS" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "No such command"),
        (["status"], "Missing argument"),
        (["logs", "x", "-n", "many"], "Invalid value for '-n'"),
        *(
            (["cancel", job_id], "a job id has 1 to 128 letters")
            for job_id in ("", "a/../b", "../../x", "a?b#c", "a b", "x\n")
        ),
        *(
            (["resume", "j", "--checkpoint", empty], "name one that `trainyard checkpoints` lists")
            for empty in ("", "  ")
        ),
        *(
            (["prune", "--days", days], "Invalid value for '--days'")
            for days in ("nan", "inf", "1e308", "-1", "many")
        ),
        (["check-dataset", "  "], "name a file, a folder or an address"),
        (["check-dataset", "a", "--max-samples", "0"], "config.data.max_samples: "),
        (["check-dataset", "a", "--train-split", "0"], "config.data.train_split: "),
        (
            ["check-dataset", "a", "--train-split", "nan"],
            "config.data.train_split: should be a fin",
        ),
        *(
            (["usage", "--month", month], "give a month as 2026-11")
            for month in ("2026", "2026-13", "2026-00", "november", "２０２６-11")
        ),
    ],
)
def test_wrong_usage_is_exit_code_2_before_anything_is_sent(
    bridge: FakeBridge, arguments: list[str], said: str
) -> None:
    done = trainyard(*arguments)
    assert (done.exit_code, said in done.stderr, bridge.calls) == (2, True, []), done.output


@pytest.mark.parametrize(
    ("job_id", "path"), [("a/../b", "a%2F..%2Fb"), ("a?b#c", "a%3Fb%23c"), ("a b", "a%20b")]
)
def test_a_job_id_stays_one_part_of_the_path(bridge: FakeBridge, job_id: str, path: str) -> None:
    with pytest.raises(BridgeError):
        BridgeClient(f"http://127.0.0.1:{bridge.port}").status(job_id)
    assert [call.path for call in bridge.calls] == [f"/api/training/status/{path}"]


@pytest.fixture
def free_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of all that `trainyard up` starts."""
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setenv("BRIDGE_PORT", str(free_port()))
    monkeypatch.setenv("FLOWER_PORT", str(free_port()))
    monkeypatch.setenv("BACKEND_URL", "http://127.0.0.1:9")


@pytest.mark.usefixtures("free_places")
def test_a_home_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path / "file" / "home"))
    for command in ("up", "demo"):
        done = in_its_own_process(command)
        assert done.returncode == 2
        assert "TRAINYARD_HOME:" in done.stderr
        assert "cannot be made (Not a directory)" in done.stderr


@pytest.mark.usefixtures("free_places")
def test_a_redis_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    done = in_its_own_process("up")
    assert done.returncode == 1
    assert "Redis does not answer (" in done.stderr
    assert "set REDIS_URL to one that runs" in done.stderr
    done = trainyard("rm", "job-1")
    assert done.exit_code == 1
    assert "nothing is removed: " in done.stderr


def test_check_dataset_with_a_home_that_may_not_be_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    done = trainyard("check-dataset", "any.jsonl")
    assert done.exit_code == 2
    assert f"TRAINYARD_HOME: {tmp_path}/cache cannot be written to" in done.stderr
    as_json = json.loads(trainyard("check-dataset", "any.jsonl", "--json").stdout)
    assert (as_json["usable"], "TRAINYARD_HOME" in as_json["error"]) == (False, True)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1",) * 2, ("::1", "[::1]"), ("0.0.0.0", "127.0.0.1")],
)
def test_where_no_bridge_answers(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("BRIDGE_HOST", host)
    monkeypatch.setenv("BRIDGE_PORT", str(free_port()))
    done = trainyard("ps")
    assert done.exit_code == 1
    assert f"no bridge answers at http://{url}:" in done.stderr
    assert "trainyard up" in done.stderr


def test_the_key_is_sent(bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    trainyard("ps")
    monkeypatch.setenv("BRIDGE_API_KEY", "k3y")
    settings.cache_clear()
    trainyard("ps")
    assert [call.authorization for call in bridge.calls] == [None, "Bearer k3y"]


# ---------------------------------------------------------------- reading


HOSTILE = "[/] [red]x \x1b]0;title\x07 \x1b[2J 100%"


INTERRUPTED_IMPORT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what runs in the background
from importlib.metadata import EntryPoint

class Interrupts:
    def find_spec(name, *_):
        if name == "click":
            signal.raise_signal(signal.SIGINT)

entry = EntryPoint(name="trainyard", value=sys.argv.pop(), group="console_scripts").load()
sys.meta_path.insert(0, Interrupts)
entry()
"""


def test_an_interrupt_while_the_program_is_loaded_leaves_no_traceback() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, project["scripts"]["trainyard"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ps_of_a_name_that_is_none(bridge: FakeBridge) -> None:
    bridge.answers["GET", "/api/training/jobs"] = 200, {"jobs": []}
    bridge.answers["GET", "/api/training/groups/nihgt"] = 404, {"error": "there is no sweep"}
    bridge.answers["GET", "/api/training/groups/night"] = 200, {"jobs": [], "counts": {}}
    done = trainyard("ps", "nihgt", "--json")
    assert (done.exit_code, done.output) == (1, "trainyard: there is no sweep\n")
    done = trainyard("ps", "night", "--status", "failed")
    assert (done.exit_code, done.output) == (0, "No such job.\n")


@pytest.mark.parametrize("command", ["ps", "status"])
def test_what_others_wrote_can_harm_no_terminal(bridge: FakeBridge, command: str) -> None:
    job = a_job(name=HOSTILE, dataset=HOSTILE)
    bridge.answers["GET", "/api/training/jobs"] = 200, {"jobs": [job]}
    bridge.answers["GET", "/api/training/status/job-1"] = 200, job
    done = trainyard(command, *["job-1"] * (command == "status"))
    assert done.exit_code == 0, done.output
    assert "[/] [red]x" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout


def test_ps_as_table_and_as_json(bridge: FakeBridge) -> None:
    jobs = [
        a_job(progress={"step": 5, "total_steps": 20}, point={"train_loss": 1.5}),
        {**a_job(), "job_id": "job-2", "status": "queued", "queue_position": 4},
    ]
    bridge.answers["GET", "/api/training/jobs"] = 200, {"jobs": jobs}
    first, second = trainyard("ps").stdout.splitlines()[1:]
    assert all(part in first for part in ("job-1", "running", "25%", "5/20", "1.5"))
    assert "queued (position 4)" in second
    assert json.loads(trainyard("ps", "--json").stdout) == jobs


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"slot": "box-0"}, "slot box-0"),
        (
            {"error": ErrorReport(kind=ErrorKind.DATASET, message="No rows.", hint="Add some.")},
            "error No rows. error_kind dataset error_hint Add some.",
        ),
        (
            {"warnings": [Verdict(kind=VerdictKind.DATA, sentence=f"{n} rows") for n in (1, 2)]},
            "warnings 1 rows 2 rows",
        ),
    ],
)
def test_status_says_in_words_what_is_known(
    bridge: FakeBridge, fields: dict[str, Any], shown: str
) -> None:
    bridge.answers["GET", "/api/training/status/job-1"] = 200, a_job(**fields)
    said = " ".join(trainyard("status", "job-1").stdout.split())
    assert shown in said
    assert not any(word in said for word in ("None", "grad_norm"))


def test_metrics(bridge: FakeBridge) -> None:
    points = [
        {"step": 1, "epoch": 0, "train_loss": 2.0},
        {"step": 2, "epoch": 0, "eval_loss": 1.25},
    ]
    bridge.answers["GET", "/api/training/metrics/job-1"] = 200, {"metrics": points}
    bridge.answers["GET", "/api/training/status/job-1"] = 200, a_job()
    header, first, second = trainyard("metrics", "job-1").stdout.splitlines()
    assert header.split() == ["step", "epoch", "train_loss", "eval_loss"]
    assert first.split() == ["1", "0", "2", "–"]
    assert second.split() == ["2", "0", "–", "1.25"]
    assert json.loads(trainyard("metrics", "job-1", "--json").stdout) == points
    before = {"step": 0, "epoch": 0, "eval_loss": 7.5}
    point = {"start_eval_loss": 7.5}
    bridge.answers["GET", "/api/training/status/job-1"] = 200, a_job(point=point)
    assert json.loads(trainyard("metrics", "job-1", "--json").stdout) == [before, *points]


def test_what_an_eval_s_point_carries_of_the_last_step_is_not_repeated(bridge: FakeBridge) -> None:
    one, two = ({"train_loss": loss, "grad_norm": 0.5} for loss in (2.0, 1.5))
    points: list[dict[str, Any]] = [
        {"step": 1, "epoch": 0, **one},
        {"step": 2, "epoch": 0, **one, "eval_loss": 1.25},
        {"step": 3, "epoch": 1, **two},
        {"step": 3, "epoch": 1, **two, "eval_loss": 1.125},
    ]
    bridge.answers["GET", "/api/training/metrics/job-1"] = 200, {"metrics": points}
    bridge.answers["GET", "/api/training/status/job-1"] = 200, a_job()
    shown = trainyard("metrics", "job-1").stdout.splitlines()
    assert [line.split() for line in shown[1:]] == [
        ["1", "0", "2", "0.5", "–"],
        ["2", "0", "–", "–", "1.25"],
        ["3", "1", "1.5", "0.5", "1.125"],
    ]


def test_a_narrow_terminal_shows_fewer_metrics_and_whole_paths_of_checkpoints(
    bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    names = ("train_loss", "learning_rate", "grad_norm", "tokens_per_second", "eval_loss")
    point = {"step": 1000, "epoch": 3, **dict.fromkeys(names, 1234.5)}
    bridge.answers["GET", "/api/training/metrics/job-1"] = 200, {"metrics": [point]}
    bridge.answers["GET", "/api/training/status/job-1"] = 200, a_job()
    shown = trainyard("metrics", "job-1", columns=60).stdout
    assert all(name in shown for name in ("step", "train_loss", "eval_loss", "learning_rate"))
    assert "grad_norm" not in shown
    assert "…" not in shown
    written = {"step": 1000, "epoch": 3.0, "train_loss": 1.5, "eval_loss": 1.25, "size_bytes": 9}
    marks = {"created_at": "2026-01-01T00:00:00Z", "is_best": True, "is_latest": False}
    one = {"path": f"checkpoints/checkpoint-{10**9}", **written, **marks}
    bridge.answers["GET", "/api/training/checkpoints/job-1"] = 200, {"checkpoints": [one]}
    shown = trainyard("checkpoints", "job-1", columns=60).stdout
    assert one["path"] in shown
    assert "best" in shown
    assert "…" not in shown


def test_a_row_of_many_parts_has_a_line_for_each(bridge: FakeBridge) -> None:
    result = {"model_dir": "model", **{f"figure_{n}": n for n in range(20)}}
    bridge.answers["GET", "/api/training/status/job-1"] = 200, a_job(result=result)
    shown = trainyard("status", "job-1").stdout.splitlines()
    assert max(map(len, shown)) < 100
    assert any(line.split() == ["figure_19", "19"] for line in shown)


@pytest.mark.parametrize(("flags", "force"), [([], False), (["--force"], True)])
def test_cancel(bridge: FakeBridge, flags: list[str], force: bool) -> None:
    bridge.answers["POST", "/api/training/cancel/job-1"] = 200, {"message": "it stops"}
    done = trainyard("cancel", "job-1", *flags)
    assert (done.exit_code, done.stdout) == (0, "it stops\n")
    assert bridge.calls[0].body == {"force": force}


def test_logs_asks_for_the_last_lines(bridge: FakeBridge) -> None:
    bridge.answers["GET", "/api/training/logs/job-1"] = 200, page(["a", "b"])
    done = trainyard("logs", "job-1", "-n", "7")
    assert (done.exit_code, done.stdout) == (0, "a\nb\n")
    assert bridge.calls[0].path.endswith("?limit=7&offset=-7")


class GrowingLog:
    """A log of which the bridge keeps the newest ``kept`` lines; it grows with every answer."""

    def __init__(self, *, kept: int, growth: int, end: int) -> None:
        self.lines = [f"line {n}" for n in range(growth)]
        self.kept, self.growth, self.end = kept, growth, end

    def logs(self, call: Call) -> tuple[int, Any]:
        query = dict(part.split("=") for part in call.path.partition("?")[2].split("&"))
        cut = max(len(self.lines) - self.kept, 0)
        model, offset = self.lines[cut:], int(query["offset"])
        offset = max(len(model) + offset, 0) if offset < 0 else offset
        answer = page(model[offset:], offset=offset, cut=cut, total=len(model))
        grown = min(len(self.lines) + self.growth, self.end)
        self.lines += [f"line {n}" for n in range(len(self.lines), grown)]
        return 200, answer

    def status(self, _: Call) -> tuple[int, Any]:
        return 200, {"status": "completed" if len(self.lines) == self.end else "running"}


def followed(bridge: FakeBridge, log: GrowingLog) -> Result:
    bridge.answers["GET", "/api/training/logs/job-1"] = log.logs
    bridge.answers["GET", "/api/training/status/job-1"] = log.status
    return trainyard("logs", "-f", "job-1")


@pytest.mark.parametrize("kept", [1000, 30])
def test_following_prints_every_line_once_though_old_ones_are_cut(
    bridge: FakeBridge, kept: int
) -> None:
    done = followed(bridge, GrowingLog(kept=kept, growth=5, end=100))
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [f"line {n}" for n in range(100)]


def test_following_says_what_it_missed(bridge: FakeBridge) -> None:
    done = followed(bridge, GrowingLog(kept=4, growth=10, end=30))
    printed = [int(line.split()[1]) for line in done.stdout.splitlines()]
    assert printed == sorted(set(printed))
    missed = sum(int(line.split()[1]) for line in done.stderr.splitlines())
    assert len(printed) - 4 + missed == 20  # the first page has the last 4 of 10
