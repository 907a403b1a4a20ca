"""`trainyard submit` from files and flags, and staying with a job."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from backend_bridge.api.responses import JobAnswer
from tests.support.command_line import trainyard
from tests.support.fake_bridge import Call, FakeBridge
from trainyard.cli import main, watching
from trainyard.cli.forecasts import dry_run
from trainyard.cli.request_file import RequestFileError, data_set, read_request, with_flags
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.parser import parse_request
from trainyard.contract.statuses import JobStatus
from trainyard.contract.verdicts import Verdict, VerdictKind
from trainyard.local import submission
from trainyard.local.backend_row import BackendError, create_row, row_of
from trainyard.settings import settings
from trainyard.store.job import Job

JOB = ("--model", "tiny", "--dataset", "a")
YAML = "config:\n  model: {name: tiny}\n  training: {num_epochs: 3}\ndataset_path: a.jsonl\n"


def job(status: JobStatus, **fields: Any) -> dict[str, Any]:
    made = Job("j", status, 1, 0.0, 0.0, model="tiny", **fields)
    return JobAnswer.of(made, None).model_dump(mode="json")


# ---------------------------------------------------------------- files and flags


def test_flags_go_on_top_of_a_yaml_file(bridge: FakeBridge, tmp_path: Path) -> None:
    file = tmp_path / "request.yaml"
    file.write_text(YAML)
    done = trainyard(
        *("submit", str(file), "--epochs", "1", "--job-id", "mine", "--token", "t"),
        *("--set", "config.seed=7", "--set", "training.packing=true", "--set", "user_id=me"),
    )
    assert (done.exit_code, done.stdout) == (0, "j is queued, position 1\n")
    assert bridge.calls[0].body == {
        "config": {
            "model": {"name": "tiny"},
            "training": {"num_epochs": 1.0, "packing": True},
            "seed": 7,
        },
        "dataset_path": "a.jsonl",
        "execution_id": "mine",
        "job_token": "t",
        "user_id": "me",
    }


def test_flags_alone_make_a_request(bridge: FakeBridge) -> None:
    done = trainyard("submit", "--model", "tiny", "--dataset", "a", "--lora", "--token", "t")
    assert done.exit_code == 0, done.output
    body = bridge.calls[0].body
    assert re.fullmatch(r"job-[0-9a-f]{8}", body["execution_id"])
    request = parse_request(body)
    assert (request.config.model.name, request.dataset_path) == ("tiny", "a")
    assert request.config.training.use_lora


def test_several_data_sets_are_mixed_each_with_its_weight(
    bridge: FakeBridge, tmp_path: Path
) -> None:
    file = tmp_path / "request.yaml"
    file.write_text(YAML)
    data = "--dataset", "a.jsonl", "--dataset", "s3://bucket/b:0.5"
    done = trainyard("submit", str(file), *data, "--token", "t")
    assert done.exit_code == 0, done.output
    body = bridge.calls[-1].body
    assert body["datasets"] == [{"path": "a.jsonl"}, {"path": "s3://bucket/b", "weight": 0.5}]
    assert "dataset_path" not in body, "the flags win over the file"
    trainyard("submit", "--model", "tiny", "--dataset", "a.jsonl:2", "--token", "t")
    assert bridge.calls[-1].body["datasets"] == [{"path": "a.jsonl", "weight": 2}]
    wrong = trainyard("submit", "--model", "tiny", "--dataset", "a:0", "--token", "t")
    assert "datasets.0.weight: should be above 0" in wrong.stderr


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("a.jsonl:2", {"path": "a.jsonl", "weight": 2.0}),
        ("https://host/a.jsonl:0.5", {"path": "https://host/a.jsonl", "weight": 0.5}),
        ("https://host:8080", {"path": "https://host:8080"}),
        ("https://host/a.jsonl?t=10:30", {"path": "https://host/a.jsonl?t=10:30"}),
        ("https://host?t=10:30", {"path": "https://host?t=10:30"}),
        ("https://host/a#t=10:30", {"path": "https://host/a#t=10:30"}),
        ("what?.jsonl:3", {"path": "what?.jsonl", "weight": 3.0}),
        ("C:a", {"path": "C:a"}),
        ("a:b:c", {"path": "a:b:c"}),
        ("hf://a/b@1.5", {"path": "hf://a/b@1.5"}),
        ("https://host:8080/a:3", {"path": "https://host:8080/a", "weight": 3}),
        ("a:-1", {"path": "a", "weight": -1}),
        ("a" * 300 + ":2", {"path": "a" * 300, "weight": 2}),
        ("~nobody-here/a:2", {"path": "~nobody-here/a", "weight": 2}),
    ],
)
def test_a_number_after_a_colon_is_a_weight_and_no_part_of_a_url(
    typed: str, read: dict[str, object]
) -> None:
    assert data_set(typed) == read


def test_an_eval_set_of_the_config_is_found_as_it_is_typed(
    bridge: FakeBridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's form names it there, where a row keeps it for its copies."""
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "eval.jsonl").write_text("{}")
    monkeypatch.setenv("DATASET_ROOTS", str(tmp_path / "sets"))
    settings.cache_clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(submission, "_is_yard_of_this_machine", lambda _: True)
    more = "--token", "t", "--set", "config.eval_dataset_path=sets/eval.jsonl"
    done = trainyard("submit", "--model", "o/tiny", "--dataset", "o/a", *more)
    assert done.exit_code == 0, done.output
    assert bridge.calls[-1].body["config"]["eval_dataset_path"] == "eval.jsonl"


def test_a_file_with_a_colon_has_no_weight(tmp_path: Path) -> None:
    (tmp_path / "part:2").touch()
    assert data_set(str(tmp_path / "part:2")) == {"path": str(tmp_path / "part:2")}


def test_a_dry_run_looks_at_every_data_set(
    bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATASET_ROOTS", str(tmp_path))
    settings.cache_clear()
    rows = '{"question": "Which?", "answer": "This."}\n'
    (tmp_path / "a.jsonl").write_text(rows * 10)
    (tmp_path / "b.jsonl").write_text(rows.replace("This", "That") * 4)
    done = trainyard(
        *("submit", "--model", "tiny", "--dataset", "a.jsonl", "--dataset", "b.jsonl:2.5"),
        *("--batch-size", "4", "--epochs", "1", "--token", "t", "--dry-run"),
    )
    assert done.exit_code == 0, done.stderr
    for part in (
        "14 rows of a.jsonl, b.jsonl (weight 2.5) (train 20, eval 0)",
        "set       10 rows of a.jsonl: 10 train, 0 evaluate",
        "set       4 rows of b.jsonl: 10 train, 0 evaluate",
        "steps       5",
    ):
        assert part in done.stdout, done.stdout


def test_a_token_is_made_for_the_development_backend_alone(
    bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = trainyard("submit", "--model", "tiny", "--dataset", "a")
    assert "job_token: required" in refused.stderr
    assert bridge.calls == []
    monkeypatch.delenv("BACKEND_URL")
    monkeypatch.setenv("DEV_BACKEND_PORT", str(bridge.port))
    settings.cache_clear()
    trainyard("submit", "--model", "tiny", "--dataset", "a")
    assert len(bridge.calls[-1].body["job_token"]) > 20


def test_the_development_backends_own_words_are_shown(bridge: FakeBridge) -> None:
    bridge.answers["POST", "/api/training/local/jobs"] = 400, {"error": "Invalid job_id"}
    with pytest.raises(BackendError, match=r"it answers 400: .*Invalid job_id"):
        create_row(f"http://127.0.0.1:{bridge.port}", {"execution_id": "../x"})


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("{", "a.json", "a.json is no JSON"),
        ("{", "-", "- is no JSON"),
        ("a: [", "a.yaml", "neither JSON nor YAML"),
        ("!!python/object/apply:os.system ['true']", "a.yaml", "neither JSON nor YAML"),
        ("- 1", "a.yaml", "holds no request"),
        ("", "a.yaml", "holds no request"),
        ("[" * 100_000, "a.json", "nested too deep"),
        ("a: " + "[" * 5_000, "a.yaml", "nested too deep"),
    ],
)
def test_files_that_are_no_request(text: str, name: str, sentence: str) -> None:
    with pytest.raises(RequestFileError, match=sentence):
        read_request(text, name)


def test_broken_yaml_is_one_sentence_with_its_place() -> None:
    with pytest.raises(RequestFileError) as caught:
        read_request("config:\n  model: {name: tiny\n  training: x\n", "a.yaml")
    assert str(caught.value) == (
        "a.yaml is neither JSON nor YAML: line 3, column 11: expected ',' or '}', but got ':'"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '{"config": {"training": {"num_epochs": NaN}}}',
            r"^config\.training\.num_epochs: .*finite",
        ),
        ("a: [1, .inf]", r"^a\.1: should be a finite number"),
        ("a: &a\n  b: *a\n", "holds itself"),
        ("2020-01-01: x", "keys must be str"),
    ],
)
def test_what_json_cannot_hold_is_said_before_anything_is_sent(
    bridge: FakeBridge, text: str, sentence: str
) -> None:
    with pytest.raises(RequestFileError, match=sentence):
        with_flags(read_request(text, "-"), {}, [])
    done = trainyard("submit", "-", stdin=text)
    assert (done.exit_code, bridge.calls) == (1, [])
    assert done.stderr.count("\n") == 1


def test_values_of_set_that_yaml_cannot_read_are_text(bridge: FakeBridge) -> None:
    trainyard(
        *("submit", *JOB, "--token", "t", "--allow-unknown"),
        *("--set", "a=" + "9" * 6000, "--set", "b=[", "--set", "c=2020-01-01"),
    )
    body = bridge.calls[0].body
    assert (body["a"], body["b"], body["c"]) == ("9" * 6000, "[", "2020-01-01")


@pytest.fixture
def rows(bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ids of the rows of a development backend, which the fake bridge is as well."""
    monkeypatch.delenv("BACKEND_URL")
    monkeypatch.setenv("DEV_BACKEND_PORT", str(bridge.port))
    settings.cache_clear()
    made: set[str] = set()

    def create(call: Call) -> tuple[int, Any]:
        job_id = call.body["job_id"]
        if job_id in made:
            return 409, {"error": "exists"}
        made.add(job_id)
        bridge.answers["DELETE", f"/api/training/local/jobs/{job_id}"] = delete
        return 201, {}

    def delete(call: Call) -> tuple[int, Any]:
        made.remove(call.path.rpartition("/")[2])
        return 200, {}

    bridge.answers["POST", "/api/training/local/jobs"] = create
    return made


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "give a request file, or --model and --dataset"),
        (["--set", "no-value"], 1, "write path=value"),
        (["--set", "a..b=1"], 1, "write path=value"),
        (["--set", ".=1"], 1, "write path=value"),
        (["-", "--set", "config.model.name.x=1"], 1, "name is no object in the file"),
        (["no-such-file.yaml"], 2, "No such file"),
        ([*JOB, "--epochs", "nan"], 1, "config.training.num_epochs: should be a finite number"),
        ([*JOB, "--set", "config.seed=.inf"], 1, "config.seed: should be a finite number"),
        ([*JOB, "--method", "sfft"], 1, "config.training.method: should be"),
        ([*JOB, "--epochs", "0"], 1, "config.training.num_epochs"),
        (
            [*JOB, "--set", "config.training.lr=1e-3"],
            1,
            "learning_rate?). Mend or remove them, or send",
        ),
    ],
)
def test_what_would_be_refused_leaves_nothing_behind(
    bridge: FakeBridge, rows: set[str], arguments: list[str], code: int, sentence: str
) -> None:
    done = trainyard("submit", *arguments, stdin=YAML)
    assert (done.exit_code, bridge.calls, rows) == (code, [], set()), done.output
    assert sentence in done.stderr


def test_a_row_is_taken_away_again_if_the_bridge_refuses(
    bridge: FakeBridge, rows: set[str]
) -> None:
    taken = bridge.answers["POST", "/api/training/execute"]
    bridge.answers["POST", "/api/training/execute"] = 409, {"error": "the limit is reached"}
    refused = trainyard("submit", *JOB, "--job-id", "mine")
    assert (refused.stderr, rows) == ("trainyard: the limit is reached\n", set())
    bridge.answers["POST", "/api/training/execute"] = taken
    trainyard("submit", *JOB, "--job-id", "mine")
    bridge.answers["POST", "/api/training/execute"] = 409, {"error": "another job's"}
    trainyard("submit", *JOB, "--job-id", "mine", "--epochs", "2")
    assert rows == {"mine"}, "the row was there before"


@pytest.mark.parametrize("place", ["body", "config"])
def test_a_row_has_several_data_sets_in_its_config_and_no_secret_of_them(place: str) -> None:
    sets = [{"path": "https://user:pass-word@host/a"}, {"path": "b", "weight": 2}, "junk"]
    config: dict[str, Any] = {"model": {"name": "tiny"}}
    body: dict[str, Any] = {"execution_id": "a", "job_token": "t", "config": config}
    (body if place == "body" else config)["datasets"] = sets
    row = row_of(body)
    assert row["config"]["datasets"] == [{"path": "https://host/a"}, sets[1], "junk"]
    assert row["dataset_path"] == "https://host/a, b, None"
    assert "pass-word" not in json.dumps(row)


def test_a_job_that_the_development_backend_does_not_know_is_told(
    bridge: FakeBridge, rows: set[str]
) -> None:
    bridge.answers["POST", "/api/training/local/jobs"] = 400, {"error": "Invalid job"}
    assert "does not know this job: it answers 400" in trainyard("submit", *JOB).stderr


def test_the_same_request_again_says_that_nothing_was_started(bridge: FakeBridge) -> None:
    answer = {"job_id": "j", "status": "completed", "queue_position": None, "ignored": []}
    bridge.answers["POST", "/api/training/execute"] = 200, {**answer, "is_new": False}
    done = trainyard("submit", *JOB, "--token", "t")
    assert "no other job was made" in done.stderr
    assert "no other job" not in trainyard("submit", *JOB, "--token", "t", "--json").stdout


def test_a_file_is_not_changed_by_flags() -> None:
    body = {"config": {"training": {"num_epochs": 3}}}
    assert with_flags(body, {"config.training.num_epochs": 1}, [])["config"] != body["config"]
    assert body == {"config": {"training": {"num_epochs": 3}}}


# ---------------------------------------------------------------- staying with a job


def test_following_shows_loss_speed_time_and_gpu(bridge: FakeBridge) -> None:
    point = {
        "train_loss": 1.5,
        "tokens_per_second": 12345.6,
        "gpu_utilization_percent": 87.0,
        "gpu_memory_allocated_gb": 11.25,
    }
    progress = {"step": 5, "total_steps": 20, "remaining_seconds": 65}
    running = job(JobStatus.RUNNING, progress=progress, point=point)
    answers = iter([running, job(JobStatus.COMPLETED)])
    bridge.answers["GET", "/api/training/status/j"] = lambda _: (200, next(answers))
    done = trainyard("submit", "--model", "tiny", "--dataset", "a", "--token", "t", "--follow")
    assert done.exit_code == 0
    parts = ("step 5/20", "loss 1.5", "1:05 left", "12,346 tokens/s", "GPU 87% 11.2 GB")
    assert all(part in done.stdout for part in parts), done.stdout
    assert done.stdout.endswith("j is completed\n")


def test_the_end_is_what_one_waited_for(
    bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    settings.cache_clear()
    result = {
        "model_dir": "model", "first_eval_loss": 6.5, "last_eval_loss": 4.25,
        "saved_step": 40, "steps": 40,
    }  # fmt: skip
    point = {"best_eval_loss": 4.125, "best_step": 32}
    warned = [
        Verdict(kind=VerdictKind.OVERFITTING, sentence="eval loss rose"),
        Verdict(kind=VerdictKind.TRAINED_PART, sentence="LoRA: 1 M of 5 M"),
    ]
    done = job(JobStatus.COMPLETED, result=result, warnings=warned, point=point)
    bridge.answers["GET", "/api/training/status/j"] = 200, done
    elsewhere = trainyard("wait", "j").stdout
    assert "eval loss   6.5 before, 4.25 after" in elsewhere
    assert "saved       step 40 of 40, the last; the best eval was 4.125 at step 32" in elsewhere
    assert "warning     eval loss rose" in elsewhere
    assert "note        LoRA: 1 M of 5 M" in elsewhere
    assert "/api/training/j/download/model" in elsewhere
    folder = tmp_path / "jobs" / "j" / "model"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"0" * 2_500_000)
    here = trainyard("status", "j").stdout
    assert f"model       {folder} (2.5 MB)" in here
    assert "try it      trainyard generate j --prompt" in here


def test_a_narrow_terminal_shows_fewer_columns_and_every_id_whole(
    bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**job(JobStatus.RUNNING), "job_id": f"job-{'8' * 16}", "name": "n" * 30}]
    bridge.answers["GET", "/api/training/jobs"] = 200, {"jobs": rows}
    monkeypatch.setenv("FORCE_COLOR", "1")
    for columns, shown, gone in ((200, "model", "nothing"), (60, "status", "name")):
        done = trainyard("ls", columns=columns)
        assert f"job-{'8' * 16}" in done.stdout
        assert shown in done.stdout.splitlines()[0]
        assert gone not in done.stdout.splitlines()[0]


def test_ps_shows_the_newest_of_a_status(bridge: FakeBridge) -> None:
    bridge.answers["GET", "/api/training/jobs"] = 200, {"jobs": []}
    shown = trainyard("list", "--status", "failed", "--status", "paused", "-n", "1")
    assert bridge.calls[0].path.partition("?")[2] == "status=failed&status=paused&limit=1"
    assert shown.stdout == "No such job.\n"


def test_help_is_a_command_too() -> None:
    assert trainyard("help", "delete").stdout == trainyard("rm", "--help").stdout
    assert trainyard("help", "nonsense").exit_code == 2
    assert trainyard("help").stdout == trainyard("--help").stdout


def test_names_of_other_tools_find_their_command() -> None:
    ours_of = {"train": "submit", "run": "submit", "info": "status", "tail": "logs"}
    for name, ours in ours_of.items():
        assert trainyard("help", name).stdout == trainyard(ours, "--help").stdout
    done = trainyard("stop", "job-1")
    assert done.exit_code == 2
    assert "`pause` and `cancel` end a job's run" in done.stderr


def test_rows_are_no_request(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a"}\n{"text": "b"}\n')
    done = trainyard("submit", str(file))
    assert done.exit_code == 1
    assert "holds rows, and no request: give it as --dataset" in done.stderr


def test_a_followed_job_that_fails_is_exit_code_1_with_its_hint(bridge: FakeBridge) -> None:
    error = ErrorReport(kind=ErrorKind.DATASET, message="No rows.", hint="Add some.")
    answer = job(JobStatus.FAILED, error=error)
    bridge.answers["GET", "/api/training/status/j"] = 200, answer
    done = trainyard("status", "-f", "j")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == ["j failed: No rows.", "hint: Add some."]


@pytest.mark.parametrize(
    ("command", "back"),
    [
        (("submit", "--model", "tiny", "--dataset", "a", "--token", "t", "--follow"), "status -f"),
        (("wait", "j"), "status -f"),
        (("logs", "-f", "j"), "logs -f"),
    ],
)
def test_ctrl_c_detaches_and_says_how_to_come_back(
    bridge: FakeBridge, command: tuple[str, ...], back: str
) -> None:
    def interrupted(_: Any) -> Any:
        raise KeyboardInterrupt

    bridge.answers["GET", "/api/training/status/j"] = 200, job(JobStatus.RUNNING)
    page = {"logs": ["a"], "lines_cut": 0, "offset": 0}
    bridge.answers["GET", "/api/training/logs/j"] = 200, page
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching.time, "sleep", interrupted)
        done = trainyard(*command)
    assert done.exit_code == 130
    assert f"trainyard {back} j" in done.stderr


def test_following_for_programs_prints_json_alone(bridge: FakeBridge) -> None:
    bridge.answers["GET", "/api/training/status/j"] = 200, job(JobStatus.COMPLETED)
    done = trainyard("status", "-f", "--json", "j")
    assert json.loads(done.stdout)["status"] == "completed"


# ---------------------------------------------------------------- every command


def commands() -> dict[str, click.Command]:
    return dict(main.main.commands)


NO_FIGURES = {"up", "demo", "completion", "help", "open", "chat"}
"""They serve, show, talk or print a script: nothing for a program to read."""


@pytest.mark.parametrize("name", sorted(commands().keys() - NO_FIGURES))
def test_every_command_speaks_json(name: str) -> None:
    assert "--json" in {text for option in commands()[name].params for text in option.opts}


def test_checkpoints(bridge: FakeBridge) -> None:
    item = {
        "path": "checkpoints/checkpoint-4", "epoch": 1.0, "step": 4, "eval_loss": 1.5,
        "train_loss": 2.0, "size_bytes": 2_500_000, "created_at": "2026-01-02T03:04:05+00:00",
        "is_best": True, "is_latest": False,
    }  # fmt: skip
    answer = {"job_id": "j", "checkpoints": [item], "best_checkpoint": item["path"]}
    bridge.answers["GET", "/api/training/checkpoints/j"] = 200, answer
    line = trainyard("checkpoints", "j").stdout.splitlines()[1]
    assert line.split() == [
        *("checkpoints/checkpoint-4", "4", "1", "2", "1.5"),
        *("2.5", "MB", "2026-01-02", "03:04:05", "best", "kept"),
    ]
    assert json.loads(trainyard("checkpoints", "j", "--json").stdout) == answer


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    done = trainyard("completion", shell)
    assert done.exit_code == 0
    assert "_TRAINYARD_COMPLETE" in done.stdout


def completed(*words: str) -> str:
    """What bash shows for a line that ends in the last of ``words``."""
    line = {"COMP_WORDS": f"trainyard {' '.join(words)}", "COMP_CWORD": str(len(words))}
    done = CliRunner().invoke(
        main.main, [], env={"_TRAINYARD_COMPLETE": "bash_complete", **line}, prog_name="trainyard"
    )
    return done.stdout.strip()


def test_job_ids_are_completed_and_errors_are_not_shown(bridge: FakeBridge) -> None:
    assert completed("status", "mat") == ""
    answer = {"jobs": [{"job_id": "math-1"}, {"job_id": "other"}]}
    bridge.answers["GET", "/api/training/jobs"] = 200, answer
    assert completed("status", "mat") == "plain,math-1"


def test_methods_and_paths_are_completed() -> None:
    assert completed("submit", "--method", "rl") == "plain,rlhf"
    for words in (("submit", "--dataset"), ("submit", "--model"), ("check-dataset",)):
        assert completed(*words, "dat") == "file,dat"


def test_a_dry_run_sends_nothing_and_says_what_would_be(
    bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = {
        "usable": True, "rows": 90, "splits": {"train": 80, "eval": 10}, "dropped": 9,
        "tokens": 8100, "max_length": 64, "warnings": ["4 rows dropped"],
    }  # fmt: skip
    looked_at: list[str] = []

    def report_of(path: str, eval_path: str, *_: Any, **__: Any) -> Any:
        looked_at.extend((Path(path).name, eval_path))
        return report

    monkeypatch.setattr(dry_run, "report_of", report_of)
    monkeypatch.setenv("DATASET_ROOTS", str(tmp_path))
    (tmp_path / "a.jsonl").touch()
    settings.cache_clear()
    before = job(JobStatus.COMPLETED, result={"tokens_per_second": 100.0})
    bridge.answers["GET", "/api/training/jobs"] = 200, {"jobs": [before]}
    done = trainyard(
        *("submit", "--model", "tiny", "--dataset", "a.jsonl", "--batch-size", "4"),
        *("--epochs", "2", "--token", "t", "--dry-run"),
        *("--set", "config.training.gradient_accumulation_steps=1"),
        *("--set", "config.training.eval_steps=9", "--set", "config.training.save_steps=20"),
    )
    assert done.exit_code == 0, done.stderr
    assert {call.method for call in bridge.calls} == {"GET"}
    for part in (
        *("90 rows of a.jsonl (train 80, eval 10); 9 of them dropped", "steps       36"),
        *("time        about 2:24, as fast as j was", "memory      not known", "4 rows dropped"),
        "note      the best eval may have no checkpoint: eval_steps is 9, save_steps 20",
    ):
        assert part in done.stdout, done.stdout
    assert looked_at == ["a.jsonl", ""]


def test_whoever_waits_is_told(
    bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bridge.answers["GET", "/api/training/status/j"] = 200, job(JobStatus.COMPLETED)
    note = tmp_path / "note"
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\necho "$1: $2" > {note}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert "\a" not in trainyard("wait", "j").stderr
    done = trainyard("wait", "j", "--notify")
    assert (done.exit_code, done.stderr) == (0, "\a")
    assert note.read_text() == "Trainyard: j is completed\n"
