"""A whole job through real processes: what the backend hears, in order, and what is left."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.support.models import load_adapter
from tests.support.stack import Stack
from tests.support.waiting import WAIT_S, wait_for
from trainyard import Client

LINE = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ")


@pytest.fixture(scope="module")
def completed(stack: Stack) -> str:
    """A completed job; its token."""
    asked = {"prompts": ["What is api_key=hunter2222 ?"], "max_new_tokens": 4}
    token = stack.submit("whole", steps=6, sections={"predictions": asked})
    stack.wait("whole", "completed")
    stack.wait_delivered("whole")
    return token


def test_training_from_python(stack: Stack, tmp_path: Path) -> None:
    """The same from a script: rows that travel in the request, a bar, a frame, a folder."""
    stack.backend.create_job("from-python", "tok-python")
    rows = [{"prompt": f"{a}+1=", "completion": str(a + 1)} for a in range(40)]
    client = Client(stack.bridge.url)
    job = client.train(
        *("tiny", rows), job_id="from-python", token="tok-python", steps=4, batch_size=2
    )
    assert job.wait(timeout_s=WAIT_S).status == "completed"
    assert job.metrics()["train_loss"].notna().any()
    assert job.logs()
    AutoTokenizer.from_pretrained(job.download(tmp_path / "mine"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(FileExistsError):
        job.download(tmp_path / "mine")
    assert job.id in {other.id for other in client.jobs()}


def test_the_backend_hears_running_then_completed(stack: Stack, completed: str) -> None:
    assert stack.backend.statuses("whole") == ["running", "completed"]
    assert stack.backend.status("whole")["status"] == "completed"


def test_everything_is_accepted_and_the_terminal_status_is_last(
    stack: Stack, completed: str
) -> None:
    requests = stack.backend.requests("whole")
    assert {request["status"] for request in requests if request["method"] != "POST"} == {200}
    assert requests[-1]["body"] == {"status": "completed"}
    keys = [r["headers"].get("idempotency-key") for r in requests if "local/whole/" in r["path"]]
    assert all(keys)
    assert len(set(keys)) == len(keys)


def test_metrics_arrive_in_order_with_the_fields_of_the_contract(
    stack: Stack, completed: str
) -> None:
    points = stack.backend.metrics("whole")
    evaluated = [point for point in points if point.get("eval_loss") is not None]
    trained = [point for point in points if point not in evaluated]
    assert [point["step"] for point in trained] == [1, 2, 4, 6]
    assert [point["step"] for point in evaluated] == [4, 6]
    for field in ("learning_rate", "grad_norm", "train_perplexity", "tokens_per_second"):
        assert all(point[field] is not None for point in points), field
    assert all(point["perplexity"] > 1 for point in evaluated)
    assert stack.bridge.metrics("whole")[0]["step"] == 1


def test_logs_are_the_same_at_backend_bridge_and_file(stack: Stack, completed: str) -> None:
    at_backend = stack.backend.logs("whole")
    at_bridge = stack.bridge.logs("whole", limit=100_000, offset=0)["logs"]
    assert at_backend == at_bridge == stack.log("whole").splitlines()
    assert len(at_backend) > 5
    assert all(LINE.match(line) for line in at_backend)


def test_predictions_are_events_without_secrets(stack: Stack, completed: str) -> None:
    entries = [fields for _, fields in stack.redis.xrange("trainyard:events:whole")]
    said = [json.loads(e["data"]) for e in entries if e["kind"] == "prediction"]
    assert [event["step"] for event in said][-2:] == [4, 6]
    assert all("What is api_key=[redacted] ?" in event["prompt"] for event in said)
    assert "What is api_key=[redacted] ?" in stack.log("whole")


def test_the_model_loads_with_the_standard_class(stack: Stack, completed: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = stack.home / "jobs" / "whole" / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.num_parameters() > 10_000
    assert AutoTokenizer.from_pretrained(folder)("What is 1 plus 2?")["input_ids"]


def test_the_bridge_tells_the_whole_state(stack: Stack, completed: str) -> None:
    job = stack.bridge.status("whole")
    assert (job["progress"], job["current_step"], job["total_steps"]) == (100.0, 6, 6)
    assert job["best_eval_loss"] <= job["result"]["first_eval_loss"]
    assert job["error"] is None
    assert {"load_model", "train", "save_model", "verify"} <= job["phases"].keys()
    assert "random_base" in [verdict["kind"] for verdict in job["warnings"]]


def test_its_hours_are_its_own_and_the_months(stack: Stack, completed: str) -> None:
    job = stack.bridge.status("whole")
    used = job["usage"]
    assert 0 < used["slot_hours"] < 1
    assert (used["gpu_hours"], used["energy_kwh"], used["cost"]) == (0, None, None)
    month = stack.bridge.usage(by="user", month=job["completed_at"][:7])
    row = next(row for row in month["rows"] if row["name"] == (job["user_id"] or "-"))
    assert row["attempts"] >= 1
    assert month["total"]["slot_hours"] >= row["usage"]["slot_hours"] > 0


def test_no_file_and_no_message_holds_the_token(stack: Stack, completed: str) -> None:
    holders = [path for path in files(stack.home) if completed.encode() in path.read_bytes()]
    assert holders == []
    stored = [key for key in stack.redis.keys("*") if holds(stack, key, completed)]
    assert stored == ["trainyard:token:whole"]


def test_no_process_of_the_job_is_left(stack: Stack, completed: str) -> None:
    wait_for("the training is gone", lambda: not stack.training_processes())


def test_a_second_job_waits_with_its_position(stack: Stack) -> None:
    stack.submit("first", steps=400)
    stack.submit("second", steps=2)
    stack.submit("third", steps=2)
    assert stack.bridge.status("third")["queue_position"] in (1, 2)
    stack.wait("first", "running")
    assert stack.bridge.status("second")["queue_position"] == 1
    assert stack.bridge.status("third")["queue_position"] == 2
    stack.bridge.cancel("third", force=False)
    stack.bridge.cancel("first", force=True)
    stack.wait("second", "completed")
    for job_id, status in (("first", "cancelled"), ("second", "completed"), ("third", "cancelled")):
        stack.wait_delivered(job_id)
        assert stack.backend.status(job_id)["status"] == status
    assert stack.backend.statuses("third") == ["cancelled"]


def test_the_training_has_no_way_to_the_job_store(stack: Stack) -> None:
    stack.submit("curious", steps=100_000)
    stack.wait_for_step("curious", 1)
    environment = stack.training_process().environ()
    assert environment["TRAINYARD_HOME"] == str(stack.home)
    assert not {"REDIS_URL", "BRIDGE_API_KEY", "FLOWER_BASIC_AUTH"} & environment.keys()
    stack.bridge.cancel("curious", force=True)
    stack.wait("curious", "cancelled")


def test_an_adapter_is_trained_and_loads(stack: Stack) -> None:
    stack.submit("lora", steps=2, training={"use_lora": True, "lora_r": 4})
    stack.wait("lora", "completed")
    folder = stack.home / "jobs" / "lora" / "model"
    assert (folder / "adapter_model.safetensors").exists()
    assert load_adapter(stack.models / "tiny", folder).active_adapters


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def holds(stack: Stack, key: str, token: str) -> bool:
    """Whether a key of Redis holds the token, whatever its type."""
    return token.encode() in (stack.redis.execute_command("DUMP", key, NEVER_DECODE=True) or b"")
