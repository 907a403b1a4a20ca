"""The bridge's HTTP answers on a real Redis, and what an attacker gets from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.bridge import LINES, Running, refusal
from tests.support.requests import TOKEN, request_body
from trainyard.contract.errors import ERROR_HINTS, ErrorKind, ErrorReport, Frame
from trainyard.scheduling.slots import SlotRegistry, SlotState

# ---------------------------------------------------------------- starting a job


def test_a_job_is_started_and_seen_everywhere(bridge: Running) -> None:
    first = bridge.start("job-1", training={"oddity": 1})
    assert first.json() == {
        "success": True,
        "job_id": "job-1",
        "status": "queued",
        "queue_position": 1,
        "ignored": ["config.training.oddity"],
        "is_new": True,
        "jobs": [],
    }
    assert bridge.start("job-2").json()["queue_position"] == 2
    status = bridge.get("status/job-2").json()
    assert (status["status"], status["queue_position"], status["progress"]) == ("queued", 2, 0)
    assert [job["job_id"] for job in bridge.get("jobs").json()["jobs"]] == ["job-2", "job-1"]
    bridge.store.claim("job-1", 1, slot="box-0", worker="w")
    queue = bridge.get("queue").json()
    assert queue["running"] == [{"job_id": "job-1", "status": "running", "slot": "box-0"}]
    (waiting,) = queue["queued"]
    assert (waiting["job_id"], waiting["queue_position"]) == ("job-2", 1)
    health = bridge.client.get("/health").json()
    assert (health["active_jobs"], health["queued_jobs"]) == (1, 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 15_000, b'{"a":' * 15_000, b"9" * 5000, b"nul"],
    ids=["empty", "cut", "no UTF-8", "deep list", "deep object", "long number", "word"],
)
def test_a_body_that_is_no_json(bridge: Running, body: bytes) -> None:
    error = refusal(bridge.client.post("/api/training/execute", content=body), 400)["error"]
    assert error.startswith("the request body is")
    assert len(error) < 200


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"x"', b"true"])
def test_a_body_that_is_json_but_no_object(bridge: Running, body: bytes) -> None:
    answer = bridge.client.post("/api/training/execute", content=body)
    assert refusal(answer, 422)["error"] == "body: should be a JSON object"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(bridge: Running, number: str) -> None:
    body = json.dumps(request_body(training={"x": "@"})).replace('"@"', number)
    answer = bridge.client.post("/api/training/execute", content=body)
    errors = refusal(answer, 422)["errors"]
    assert errors == [{"path": "config.training.x", "message": "should be a finite number"}]


def test_wrong_fields_are_all_named(bridge: Running) -> None:
    answer = bridge.start("a/b", training={"batch_size": "many"}, job_token=5, dataset_path=7)
    body = refusal(answer, 422)
    assert {problem["path"] for problem in body["errors"]} == {
        "execution_id",
        "config.training.batch_size",
        "job_token",
        "dataset_path",
    }
    assert bridge.get("jobs").json() == {"jobs": [], "next_cursor": None}


@pytest.mark.parametrize("text", ["\ud800", "x\udfff"])
def test_half_a_surrogate_pair(bridge: Running, text: str) -> None:
    body = json.dumps(request_body(name=text))
    answer = bridge.client.post("/api/training/execute", content=body)
    assert refusal(answer, 422)["errors"][0]["path"] == "name"


@pytest.mark.parametrize("name", ["\0", "\u2028", "👩‍🔬", "'; DROP", "[/]", "x" * 200, "%n{0}"])
def test_odd_names_go_through_unharmed(bridge: Running, name: str) -> None:
    assert bridge.start(name=name).status_code == 200
    assert bridge.get("status/job-1").json()["name"] == name


def test_a_body_over_the_limit_is_read_no_further(make_bridge: Any) -> None:
    bridge = make_bridge(MAX_REQUEST_MB="0.01")
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while read < 100:
            read += 1
            yield b" " * 5000

    answer = bridge.client.post("/api/training/execute", content=endless())
    assert "larger than 0.01 MB (MAX_REQUEST_MB)" in refusal(answer, 413)["error"]
    refusal(bridge.start(dataset_content="x" * 10_000), 413)
    assert bridge.start(dataset_content="x" * 5_000).status_code == 200


def test_the_same_request_again_and_another_with_its_id(bridge: Running) -> None:
    first = bridge.start().json()
    assert bridge.start().json() == {**first, "is_new": False}
    assert len(bridge.get("jobs").json()["jobs"]) == 1
    error = refusal(bridge.start(dataset_path="other.jsonl"), 409)["error"]
    assert "job-1 belongs to another request" in error


def test_past_the_limit_in_the_contracts_words(make_bridge: Any) -> None:
    bridge = make_bridge(MAX_QUEUED_JOBS="0", SLOTS="1")
    assert bridge.start("job-1").status_code == 200
    assert refusal(bridge.start("job-2"), 409)["error"] == "concurrent job limit reached (1)"


def test_the_limit_grows_with_the_slots_that_live(make_bridge: Any) -> None:
    bridge = make_bridge(MAX_QUEUED_JOBS="0")
    registry = SlotRegistry(bridge.store.redis)
    registry.beat("a-0", {"gpus": [{"name": "H200"}]})
    registry.beat("b-0", {"gpus": []})
    for name in ("a-0", "b-0"):
        registry.stamp(name, SlotState.CONSUMING)
    health = bridge.client.get("/health").json()
    assert (health["slots"], health["gpu_available"]) == (["a-0", "b-0"], True)
    assert [bridge.start(f"job-{n}").status_code for n in range(3)] == [200, 200, 409]
    registry.leave("a-0")
    assert bridge.client.get("/health").json()["gpu_available"] is False


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("query", "lines", "offset"),
    [("", LINES, 0), ("?limit=2", LINES[:2], 0), ("?offset=-2", LINES[3:], 3),
     ("?limit=2&offset=1", LINES[1:3], 1), ("?offset=-99", LINES, 0), ("?offset=99", [], 99),
     ("?limit=0", [], 0), ("?limit=100000", LINES, 0)],
)  # fmt: skip
def test_logs(busy: Running, query: str, lines: list[str], offset: int) -> None:
    page = busy.get(f"logs/job-1{query}").json()
    assert (page["logs"], page["offset"], page["total_lines"]) == (lines, offset, 5)
    assert page["job_id"] == "job-1"


@pytest.mark.parametrize("query", ["limit=-1", "limit=100001", "limit=x", "offset=1.5", "limit="])
def test_logs_with_a_wrong_query(busy: Running, query: str) -> None:
    name = query.partition("=")[0]
    assert refusal(busy.get(f"logs/job-1?{query}"), 422)["errors"][0]["path"] == f"query.{name}"


def test_status_and_metrics_of_a_running_job(busy: Running) -> None:
    status = busy.get("status/job-1").json()
    assert (status["progress"], status["current_step"], status["total_steps"]) == (25.0, 2, 8)
    assert (status["loss"], status["eval_loss"], status["error"]) == (2.5, 2.0, None)
    assert busy.get("metrics/job-1").json()["metrics"] == [
        {"step": 1, "epoch": 0, "train_loss": 2.5},
        {"step": 2, "epoch": 1, "eval_loss": 2.0},
    ]


def test_metrics_are_read_page_by_page(busy: Running) -> None:
    first = busy.get("metrics/job-1?limit=1").json()
    rest = busy.get(f"metrics/job-1?cursor={first['next_cursor']}").json()
    assert [[p["step"] for p in page["metrics"]] for page in (first, rest)] == [[1], [2]]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=10001", "cursor=x", "cursor=1-2-3", "cursor=\u0663-\u0661"]
)
def test_metrics_with_a_wrong_query(busy: Running, query: str) -> None:
    name = query.partition("=")[0]
    assert refusal(busy.get(f"metrics/job-1?{query}"), 422)["errors"][0]["path"] == f"query.{name}"


def test_what_is_counted_is_0_before_it_begins(bridge: Running) -> None:
    bridge.start()
    status = bridge.client.get("/api/training/status/job-1").json()
    names = ("progress", "current_step", "total_steps", "current_epoch", "total_epochs")
    assert [status[name] for name in (*names, "elapsed_seconds")] == [0] * 6
    assert status["loss"] is None


def test_a_failed_job_says_why(busy: Running) -> None:
    report = ErrorReport(kind=ErrorKind.DATASET, message="No rows.", hint="Add some.")
    busy.store.fail("job-1", 1, report)
    status = busy.get("status/job-1").json()
    found = [status[name] for name in ("status", "error", "error_kind", "error_hint")]
    assert found == ["failed", "No rows.", "dataset", "Add some."]


def test_errors_of_a_job_and_of_its_attempts(busy: Running) -> None:
    assert busy.get("job-1/errors").json()["kind"] is None
    busy.store.lost("job-1", 1, "The training hung.", ErrorKind.HANG)
    assert busy.store.claim("job-1", 2, slot="s", worker="w")
    frame = {"file": "a.py", "line": 3, "function": "f", "code": "raise x"}
    report = ErrorReport(
        kind=ErrorKind.DATASET,
        message="No rows.",
        hint="Add some.",
        exception="ValueError: x",
        frames=[Frame(**frame)],
    )
    busy.store.fail("job-1", 2, report)
    found = busy.get("job-1/errors").json()
    last = {
        **{"kind": "dataset", "message": "No rows.", "hint": "Add some."},
        **{"exception": "ValueError: x", "traceback": [frame]},
    }
    assert found.items() >= {**last, "status": "failed"}.items()
    first, second = found["attempts"]
    assert (first["attempt"], first["kind"], first["message"]) == (1, "hang", "The training hung.")
    assert first["hint"] == ERROR_HINTS[ErrorKind.HANG]
    assert second.items() >= {**last, "attempt": 2}.items()
    refusal(busy.get("nobody/errors"), 404)


def test_a_result_that_is_not_finite_breaks_no_answer(busy: Running) -> None:
    busy.store.complete("job-1", 1, {"last_eval_loss": float("nan"), "steps": 8})
    assert busy.get("status/job-1").json()["result"]["steps"] == 8
    assert busy.get("jobs").json()["jobs"][0]["result"]["last_eval_loss"] is None


@pytest.mark.parametrize("route", ["status", "logs", "metrics"])
@pytest.mark.parametrize(
    "job_id",
    ["nobody", "a:1", "%00", "%2e%2e", "%ff", "*", "job-1%0a", "'", "%F0%9F%92%A9", "x" * 4000],
)
def test_jobs_that_are_not_there(busy: Running, route: str, job_id: str) -> None:
    assert "there is no job" in refusal(busy.get(f"{route}/{job_id}"), 404)["error"]


@pytest.mark.parametrize("path", ["status/a%2Fb", "status/", "nothing", "../../etc/passwd"])
def test_paths_that_are_none(bridge: Running, path: str) -> None:
    refusal(bridge.get(path), 404)


def test_a_wrong_method_is_json_too(bridge: Running) -> None:
    answer = bridge.client.delete("/api/training/jobs")
    refusal(answer, 405)
    assert answer.headers["allow"] == "GET"


def test_a_wrong_method_names_all_that_the_path_has(bridge: Running) -> None:
    allowed = {
        path: bridge.client.request("PATCH", path).headers["allow"]
        for path in ("/v1/files", "/v1/files/file-1", "/v1/fine_tuning/jobs")
    }
    assert set(allowed.values()) == {"GET, POST", "DELETE, GET"}
    assert allowed["/v1/files/file-1"] == "DELETE, GET"


def test_a_sweep_is_a_group_of_jobs(bridge: Running, real_redis: Any) -> None:
    grid = {"lora.r": [8, 16], "training.learning_rate": [1e-4]}
    started = bridge.start("g", sweep=grid).json()
    assert (started["job_id"], started["jobs"]) == ("g", ["g-1", "g-2"])
    bridge.start("other")
    listed = bridge.get("jobs", params={"group": "g"}).json()["jobs"]
    assert [(job["job_id"], job["group"], job["settings"]["lora.r"]) for job in listed] == [
        ("g-2", "g", 16),
        ("g-1", "g", 8),
    ]
    found = bridge.get("groups/g").json()
    assert (found["status"], found["counts"], found["best"]) == ("queued", {"queued": 2}, None)
    assert found["settings"] == ["lora.r", "training.learning_rate"]
    for job_id, loss in (("g-1", 2.5), ("g-2", 1.5)):
        real_redis.hset(f"trainyard:job:{job_id}", "point", json.dumps({"train_loss": loss}))
    found = bridge.get("groups/g").json()
    assert (found["measure"], found["best"]) == ("loss", "g-2")
    real_redis.hset("trainyard:job:g-1", "point", json.dumps({"best_eval_loss": 2.0}))
    found = bridge.get("groups/g").json()
    assert (found["measure"], found["best"]) == ("best_eval_loss", "g-1")
    answer = bridge.client.post("/api/training/cancel/g")
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert bridge.get("groups/g").json()["counts"] == {"cancelled": 2}
    assert "there is no sweep 'other'" in refusal(bridge.get("groups/other"), 404)["error"]
    answer = bridge.client.post("/api/training/g/force-start")
    assert answer.json()["message"] == "sweep g: 2 of 2 jobs run next, or are queued again"
    assert refusal(bridge.get("status/g"), 404)["error"].startswith("g is a sweep")


def test_what_is_held_is_told_and_in_nobodys_way(bridge: Running) -> None:
    bridge.start("late", not_before="2100-01-01T22:00:00Z")
    bridge.start("now")
    queue = bridge.get("queue").json()
    assert [job["job_id"] for job in queue["queued"]] == ["now"]
    (held,) = queue["held"]
    assert held["job_id"] == "late"
    assert held["waiting_reason"].startswith("waits until 2100-01-0")
    status = bridge.get("status/late").json()
    assert (status["status"], status["queue_position"]) == ("queued", None)
    assert status["waiting_reason"] == held["waiting_reason"]


def test_no_answer_shows_the_token(busy: Running) -> None:
    busy.store.cancel("job-1")
    for path in ("status/job-1", "logs/job-1", "metrics/job-1", "jobs", "queue"):
        assert TOKEN not in busy.get(path).text


def test_the_list_is_read_page_by_page_while_jobs_come_and_go(
    bridge: Running, real_redis: Any
) -> None:
    for number in range(7):
        bridge.start(f"job-{number}", user_id="ada" if number % 2 else "bob")
        real_redis.zadd("trainyard:jobs", {f"job-{number}": 1000 + number // 2})  # some at once
    bridge.client.post("/api/training/cancel/job-4")

    def page(**query: Any) -> tuple[list[str], str | None]:
        answer = bridge.get("jobs", params=query).json()
        return [job["job_id"] for job in answer["jobs"]], answer["next_cursor"]

    everything = [f"job-{number}" for number in range(6, -1, -1)]
    assert page() == (everything, None)
    first, cursor = page(limit=3)
    assert first == everything[:3]
    bridge.start("newer")
    assert page(limit=3, cursor=cursor)[0] == everything[3:6]
    assert page(status="cancelled")[0] == ["job-4"]
    assert page(user_id="ada", limit=2)[0] == ["job-5", "job-3"]
    assert page(since="2100-01-01T00:00:00Z") == ([], None)
    assert page(since="0001-01-01T00:00:00Z") == page()
    for wrong in (
        {"limit": 0},
        {"cursor": "x"},
        {"status": "done"},
        {"since": "2026-01-01T00:00"},
        {"since": "0.5"},
    ):
        refusal(bridge.get("jobs", params=wrong), 422)
    real_redis.zrem("trainyard:jobs", first[-1])
    assert set(everything[3:]) <= set(page(cursor=cursor)[0]), "none is passed over"
