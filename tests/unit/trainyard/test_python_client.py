"""Client from Python, against a bridge that says what the test wants."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

import trainyard
from backend_bridge.api.responses import JobAnswer
from tests.support.fake_bridge import FakeBridge
from trainyard import Client, JobFailed, TrainingJob, TrainyardError, python_client
from trainyard.client import GenerationFailed
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.statuses import JobStatus
from trainyard.store import job as stored

ROWS = [{"prompt": "2+2=", "completion": "vier, ja"}, {"prompt": "é", "completion": "ü"}]


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBridge]:
    with FakeBridge() as bridge:
        monkeypatch.setenv("BACKEND_URL", "http://127.0.0.1:9")  # a backend of one's own
        monkeypatch.setattr(python_client, "POLL_S", 0)
        answer = {"job_id": "j", "status": "queued", "queue_position": 1, "ignored": []}
        bridge.answers["POST", "/api/training/execute"] = 200, answer
        yield bridge


@pytest.fixture
def client(bridge: FakeBridge) -> Client:
    return Client(f"http://127.0.0.1:{bridge.port}")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("r", "config.lora.r"), ("learing_rate", "learning_rate"), ("lr", "learning_rate")],
)
def test_an_argument_that_is_none_says_where_it_belongs(
    client: Client, bridge: FakeBridge, name: str, meant: str
) -> None:
    with pytest.raises(TypeError, match=rf"no argument {name} \(did you mean {meant}\?\).*config="):
        client.train("tiny", "chats.jsonl", **{name: 1})  # type: ignore[arg-type]
    assert not bridge.calls


def status(status: JobStatus, **fields: Any) -> tuple[int, Any]:
    made = stored.Job("j", status, 1, 0.0, 0.0, model="tiny", **fields)
    return 200, JobAnswer.of(made, None).model_dump(mode="json")


@pytest.mark.parametrize("rows", [ROWS, pandas.DataFrame(ROWS)])
def test_rows_travel_in_the_request(client: Client, bridge: FakeBridge, rows: Any) -> None:
    job = client.train(
        "tiny", rows, lora=True, steps=3, token="t", name="n", config={"lora": {"r": 4}}
    )
    body = bridge.calls[0].body
    assert [json.loads(line) for line in body["dataset_content"].splitlines()] == ROWS
    assert body["config"] == {
        "model": {"name": "tiny"},
        "training": {"method": "sft", "use_lora": True, "max_steps": 3},
        "lora": {"r": 4},
    }
    assert (body["name"], job.id) == ("n", "j")


def test_several_data_sets_are_paths_or_objects_with_a_path(
    client: Client, bridge: FakeBridge
) -> None:
    client.train("tiny", ["a/b:2", Path("c/d"), {"path": "e/f", "samples": 5}], token="t")
    body = bridge.calls[-1].body
    assert body["datasets"] == [
        *({"path": "a/b", "weight": 2}, {"path": "c/d"}, {"path": "e/f", "samples": 5})
    ]
    assert not {"dataset_path", "dataset_content"} & set(body)
    rows = [{"path": "a", "text": "a row that has a path"}]
    client.train("tiny", rows, token="t")
    assert json.loads(bridge.calls[-1].body["dataset_content"]) == rows[0]


def test_what_is_wrong_is_said_before_anything_is_sent(client: Client, bridge: FakeBridge) -> None:
    for more in ({"method": "sfft"}, {"learning_rate": float("nan")}, {"config": {"lorra": {}}}):
        with pytest.raises(TrainyardError):
            client.train("tiny", "a/b", token="t", **more)
    with pytest.raises(TrainyardError, match=r"config\.lorra \(did .* Mend or remove them\.$"):
        client.train("tiny", "a/b", token="t", config={"lorra": {}})
    for nothing in ([], pandas.DataFrame()):
        with pytest.raises(TrainyardError, match="has no rows"):
            client.train("tiny", nothing, token="t")
    assert bridge.calls == []


def test_a_configuration_of_the_caller_is_not_changed(client: Client) -> None:
    mine: dict[str, Any] = {"training": {"num_epochs": 2}}
    client.train("tiny", "a/b", token="t", config=mine, learning_rate=0.1)
    assert mine == {"training": {"num_epochs": 2}}


def test_waiting_ends_with_the_job_or_with_its_reason(client: Client, bridge: FakeBridge) -> None:
    job = TrainingJob(client.bridge, "j")
    answers = iter([status(JobStatus.RUNNING), status(JobStatus.COMPLETED)])
    bridge.answers["GET", "/api/training/status/j"] = lambda _: next(answers)
    assert job.wait() is job
    error = ErrorReport(kind=ErrorKind.DATASET, message="No rows.", hint="Add some.")
    bridge.answers["GET", "/api/training/status/j"] = status(JobStatus.FAILED, error=error)
    with pytest.raises(JobFailed, match=r"j is failed: No rows\. Add some"):
        job.wait()
    bridge.answers["GET", "/api/training/status/j"] = status(JobStatus.PAUSED)
    with pytest.raises(TimeoutError, match="j is paused"):
        job.wait(timeout_s=0)


def test_an_interrupt_of_the_waiting_says_that_the_job_goes_on(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client.bridge, "status", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TrainingJob(client.bridge, "j").wait()
    said = "The job goes on. Back to it: Client().job('j').wait()\n"
    assert capsys.readouterr() == ("", said)


def test_a_download_that_is_refused_leaves_nothing(
    client: Client, bridge: FakeBridge, tmp_path: Path
) -> None:
    bridge.answers["GET", "/api/training/j/download/model"] = 409, {"error": "it has not ended"}
    with pytest.raises(TrainyardError, match="it has not ended"):
        TrainingJob(client.bridge, "j").download(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, trainyard; sys.exit('requests' in sys.modules or 'pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        trainyard.Clint  # type: ignore[attr-defined]  # noqa: B018


def events(*said: dict[str, Any]) -> str:
    return "".join(f": still here\n\ndata: {json.dumps(one)}\n\n" for one in said)


DONE = {"kind": "done", "reason": "stop", "completion_tokens": 2}


def test_an_answer_comes_in_pieces(client: Client, bridge: FakeBridge) -> None:
    pieces = [{"kind": "text", "text": text} for text in ("Ro", "me.")]
    told = events({"kind": "waiting", "position": 1, "behind": ["k"], "slots": 1}, *pieces, DONE)
    bridge.answers["POST", "/api/training/j/generate"] = 200, told
    heard: list[str] = []
    job = TrainingJob(client.bridge, "j")
    assert job.generate("Capital?", base=True, on_text=heard.append) == "Rome."
    assert heard == ["Ro", "me."]
    assert bridge.calls[-1].body["prompt"] == "Capital?"
    assert bridge.calls[-1].body["base"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([{"kind": "failed", "error": "It hung.", "hint": "Ask again."}], "It hung. Ask again."),
        ([{"kind": "text", "text": "Ro"}], "ended the answer in its middle"),
    ],
)
def test_no_answer_is_an_error(
    client: Client, bridge: FakeBridge, said: list[dict[str, Any]], sentence: str
) -> None:
    bridge.answers["POST", "/api/training/j/generate"] = 200, events(*said)
    with pytest.raises(GenerationFailed, match=sentence):
        TrainingJob(client.bridge, "j").generate([{"role": "user", "content": "Capital?"}])
