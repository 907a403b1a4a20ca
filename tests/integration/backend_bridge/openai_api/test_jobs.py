"""Fine-tunings of OpenAI's clients: what they ask for as a job of the yard, and what it tells."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from tests.support.dev_backend import DevBackend
from tests.support.openai_yard import Yard, refused
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import Checkpoint, Metric
from trainyard.store.attempt_writes import StoredEvent
from trainyard.store.keys import JobKey, Key

DPO = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "batch_size": 2}}}
GRADER = {"type": "trainyard", "reward_functions": ["answer", "brevity"]}


def reinforcement(grader: Any = GRADER, **hyperparameters: Any) -> dict[str, Any]:
    part = {"grader": grader, "hyperparameters": hyperparameters}
    return {"type": "reinforcement", "reinforcement": part}


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def config_of(yard: Yard, **asked: Any) -> dict[str, Any]:
    answer = yard.create(**asked)
    assert answer.status_code == 200, answer.text
    request = yard.store.request(answer.json()["id"])
    assert request["ignored"] == []
    found: dict[str, Any] = request["config"]
    return found


def test_a_job_is_an_ordinary_one_and_says_what_was_asked(yard: Yard) -> None:
    training, validation = yard.file_id(), yard.file_id()
    asked: dict[str, Any] = {
        "method": supervised(n_epochs=2, batch_size=8, learning_rate_multiplier=0.5),
        "seed": 3,
        "metadata": {"a": "b"},
    }
    files = {"training_file": training, "validation_file": validation}
    made = yard.create(**files, suffix="mine", **asked).json()
    assert made["object"] == "fine_tuning.job"
    assert made["id"].startswith("ftjob-")
    assert (made["status"], made["model"], made["fine_tuned_model"]) == ("queued", "tiny", None)
    assert (made["training_file"], made["validation_file"]) == (training, validation)
    assert made["method"]["supervised"]["hyperparameters"] == made["hyperparameters"]
    assert {name: made[name] for name in asked} == asked
    request = yard.store.request(made["id"])
    assert request["dataset_path"] == f"{training}/rows.jsonl"
    assert request["eval_dataset_path"] == f"{validation}/rows.jsonl"
    config = request["config"]
    training_config = config["training"]
    assert (config["seed"], config["model"]["name"]) == (3, "tiny")
    assert (training_config["num_epochs"], training_config["batch_size"]) == (2, 8)
    assert training_config["learning_rate"] == pytest.approx(1e-5)
    (listed,) = yard.client.get("/api/training/jobs").json()["jobs"]
    assert (listed["job_id"], listed["name"]) == (made["id"], "mine")


def test_what_is_auto_is_the_yards_default_and_every_row_trains(yard: Yard) -> None:
    config = config_of(yard, hyperparameters={"n_epochs": "auto"})
    assert config["training"]["num_epochs"] == 3
    assert config["training"]["learning_rate"] == 2e-5
    assert config["data"]["eval_split"] == 0
    held_out = config_of(yard, validation_file=yard.file_id())
    assert held_out["data"].get("eval_split") is None


def test_methods_have_their_counterparts(yard: Yard) -> None:
    pairs = config_of(yard, method=DPO)["training"]
    assert (pairs["method"], pairs["beta"], pairs["batch_size"]) == ("dpo", 0.3, 2)
    rewarded = config_of(yard, method=reinforcement(batch_size=3, eval_interval=5))["training"]
    assert (rewarded["method"], rewarded["batch_size"]) == ("grpo", 12)
    assert rewarded["rlhf"]["reward_functions"] == ["answer", "brevity"]
    assert (rewarded["eval_strategy"], rewarded["eval_steps"]) == ("steps", 5)


def test_our_own_settings_go_beside(yard: Yard) -> None:
    ours = {"training": {"use_lora": True, "learning_rate": 1e-4}, "lora": {"r": 4}}
    config = config_of(yard, config=ours, method=supervised(learning_rate_multiplier=2))
    assert config["training"]["use_lora"] is True
    assert config["training"]["learning_rate"] == pytest.approx(2e-4)
    assert config["lora"]["r"] == 4


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"training_file": "file-none"}, "training_file", "there is no file"),
    ({"validation_file": "../../x"}, "validation_file", "there is no file"),
    ({"model": ""}, "model", "at least 1"),
    ({"model": "job:none"}, "model", "there is no job"),
    ({"unknown": 1}, "unknown", "not permitted"),
    ({"seed": "x"}, "seed", "integer"),
    ({"suffix": "a:b"}, "suffix", "pattern"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "16 pairs"),
    ({"integrations": [{"type": "wandb"}]}, "integrations", "none here"),
    ({"method": {"type": "other"}}, "method.type", "supervised"),
    ({"method": {**DPO, "type": "supervised"}}, "method", "another method"),
    ({"method": {"type": "reinforcement"}}, "method", "needs a grader"),
    (
        {"method": reinforcement({"type": "python", "source": "x"})},
        "method.reinforcement.grader",
        "cannot be run here",
    ),
    ({"method": supervised(), "hyperparameters": {}}, "", "belong into method"),
    ({"config": {"training": {"method": "kto"}}}, "config.training.method", "otherwise"),
    ({"config": {"training": {"no_such": 1}}}, "config", "no_such"),
    ({"config": {"training": "x"}}, "config.training", "otherwise"),
    ({"config": {"training": 5}, "method": reinforcement()}, "config.training", "otherwise"),
    (
        {"config": {"training": {"rlhf": [1]}}, "method": reinforcement(batch_size=3)},
        "config.training.rlhf",
        "otherwise",
    ),
    ({"config": {"data": 5}}, "config.data", "otherwise"),
    ({"config": {"data": [[1]]}}, "config.data", "otherwise"),
    (
        {
            "config": {"training": {"learning_rate": 10**400}},
            "method": supervised(learning_rate_multiplier=0.5),
        },
        "config.training.learning_rate",
        "too large",
    ),
    (
        {"config": {"training": {"learning_rate": -1}}},
        "config.training.learning_rate",
        "greater",
    ),
]


def test_what_cannot_be_done_is_refused_by_name(yard: Yard, real_redis: Redis) -> None:
    for changes, param, said in REFUSED:
        assert said in refused(yard.create(**changes), 400, param)
    assert yard.store.jobs() == []
    assert not real_redis.keys(JobKey.FINE_TUNING.of("*"))


def test_a_limit_that_is_reached_is_a_429(make_yard: Any, real_redis: Redis) -> None:
    yard = make_yard(MAX_QUEUED_JOBS="0", SLOTS="1")
    assert yard.create().status_code == 200
    assert "limit" in refused(yard.create(), 429)
    assert len(real_redis.keys(JobKey.FINE_TUNING.of("*"))) == 1


class Job:
    """A job that runs, with two points and a checkpoint."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.id = str(yard.create(suffix="s").json()["id"])
        assert yard.store.claim(self.id, 1, slot="s", worker="w", home="another")
        written = Checkpoint(
            path="checkpoints/checkpoint-2", step=2, epoch=1, size_bytes=9, train_loss=1.5
        )
        events = [
            StoredEvent("log", json.dumps(["a line"]), 1),
            StoredEvent("metric", Metric(step=1, epoch=0.5, train_loss=2.5).model_dump_json()),
            StoredEvent("metric", Metric(step=2, epoch=1, eval_loss=2.0).model_dump_json()),
            StoredEvent("checkpoint", written.model_dump_json()),
        ]
        progress = {"step": 2, "total_steps": 4, "remaining_seconds": 60}
        assert yard.store.append(self.id, 1, 1, events, {"progress": json.dumps(progress)})

    def act(self, what: str) -> Any:
        return self.yard.client.post(f"/v1/fine_tuning/jobs/{self.id}/{what}")

    def get(self, what: str = "", **query: Any) -> Any:
        return self.yard.get(f"fine_tuning/jobs/{self.id}{what}", params=query).json()


def test_a_job_from_its_start_to_its_result(yard: Yard) -> None:
    job = Job(yard)
    running = job.get()
    assert running["status"] == "running"
    assert running["estimated_finish"] > running["created_at"]
    assert yard.store.complete(job.id, 1, {"total_tokens": 77})
    done = job.get()
    name = f"ft:tiny:trainyard:s:{job.id}"
    assert (done["status"], done["fine_tuned_model"]) == ("succeeded", name)
    assert (done["trained_tokens"], done["error"]) == (77, None)
    assert [one["id"] for one in yard.get("models").json()["data"]] == [name]
    assert yard.get(f"models/{name}").json()["owned_by"] == "trainyard"
    assert "no model" in refused(yard.get("models/gpt-4o"), 404, "model")
    (table,) = done["result_files"]
    lines = ["step,epoch,train_loss,valid_loss,learning_rate", "1,0,2.5,,", "2,1,,2.0,"]
    assert yard.get(f"files/{table}/content").text.splitlines() == lines
    (listed,) = yard.get("files", params={"purpose": "fine-tune-results"}).json()["data"]
    assert listed == yard.get(f"files/{table}").json()
    refused(yard.client.delete(f"/v1/files/{table}"), 400, "file_id")
    assert "has already ended" in refused(job.act("cancel"), 400)


def test_events_and_checkpoints_are_paged_the_newest_first(yard: Yard) -> None:
    job = Job(yard)
    whole = job.get("/events")
    assert [one["message"] for one in whole["data"]] == [
        f"Checkpoint created at step 2: ft:tiny:trainyard:s:{job.id}:ckpt-step-2",
        "Step 2/4: validation loss=2.0000",
        "Step 1/4: training loss=2.5000",
        "Fine-tuning job started",
        f"Created fine-tuning job: {job.id}",
    ]
    assert whole["has_more"] is False
    named = f"ft:tiny:trainyard:s:{job.id}:ckpt-step-2"
    assert yard.get(f"models/{named}").json()["id"] == named
    assert "no model" in refused(yard.get(f"models/{named[:-1]}3"), 404, "model")
    assert whole["data"][2]["data"] == {"step": 1, "total_steps": 4, "train_loss": 2.5}
    found, after = [], None
    for _ in whole["data"]:
        page = job.get("/events", limit=1, **({"after": after} if after else {}))
        found += page["data"]
        after = page["last_id"]
    assert (found, page["has_more"]) == (whole["data"], False)
    assert job.get("/events", after=after)["data"] == []
    (point,) = job.get("/checkpoints")["data"]
    assert point["metrics"] == {"step": 2, "train_loss": 1.5}
    assert job.get("/checkpoints", after=point["id"])["data"] == []
    assert job.get("/events", after="ftevent-00-0")["data"] == []
    for nothing in ("x", "ftevent-\u0661-\u0661"):
        refused(
            yard.get(f"fine_tuning/jobs/{job.id}/events", params={"after": nothing}), 400, "after"
        )


def test_a_job_is_paused_goes_on_and_is_cancelled(yard: Yard) -> None:
    job = Job(yard)
    assert job.act("pause").json()["status"] == "running"
    assert yard.store.paused(job.id, 1, {"checkpoint": "checkpoints/checkpoint-2"})
    assert job.get()["status"] == "paused"
    assert job.act("resume").json()["status"] == "queued"
    assert "cannot be resumed" in refused(job.act("resume"), 400)
    assert job.act("cancel").json()["status"] == "cancelled"


def test_a_failure_says_why(yard: Yard) -> None:
    job = Job(yard)
    error = ErrorReport(kind=ErrorKind.DATASET, message="Row 3 is empty.", hint="Fill it in.")
    assert yard.store.fail(job.id, 1, error)
    said = {"code": "dataset", "message": "Row 3 is empty. Fill it in.", "param": "training_file"}
    assert job.get()["error"] == said
    newest = job.get("/events")["data"][0]
    assert (newest["level"], newest["message"]) == ("error", "The job failed: Row 3 is empty.")


def test_lists_hold_what_was_made_here(yard: Yard, make_yard: Any) -> None:
    ids = [yard.create(metadata={"n": str(n), "all": "1"}).json()["id"] for n in range(3)][::-1]
    other = {"execution_id": "ftjob-of-somebody", "job_token": "t", "dataset_path": "d"}
    body = {**other, "config": {"model": {"name": "tiny"}}}
    assert yard.client.post("/api/training/execute", json=body).status_code == 200
    restarted = make_yard()
    first = restarted.get("fine_tuning/jobs", params={"limit": 2}).json()
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (ids[:2], True)
    rest = restarted.get("fine_tuning/jobs", params={"limit": 2, "after": ids[1]}).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (ids[2:], False)
    chosen = restarted.get("fine_tuning/jobs", params={"metadata[n]": "1", "limit": 1}).json()
    assert [one["id"] for one in chosen["data"]] == [ids[1]]
    refused(restarted.get("fine_tuning/jobs/ftjob-of-somebody"), 404, "id")
    refused(restarted.get("fine_tuning/jobs", params={"after": "none"}), 400, "after")


def test_a_file_of_a_job_that_has_not_ended_stays(yard: Yard) -> None:
    file_id = yard.file_id()
    job_id = yard.create(training_file=file_id).json()["id"]
    assert "cancel it first" in refused(yard.client.delete(f"/v1/files/{file_id}"), 400, "file_id")
    yard.store.cancel(job_id)
    assert yard.client.delete(f"/v1/files/{file_id}").json()["deleted"] is True


def test_a_backend_that_makes_no_row_is_told_nothing(yard: Yard, real_redis: Redis) -> None:
    job = Job(yard)
    assert real_redis.get(JobKey.TOKEN.of(job.id)) is None
    assert not real_redis.zcard(Key.UNDELIVERED)
    assert yard.client.delete(f"/api/training/jobs/{job.id}").status_code == 409
    assert yard.store.complete(job.id, 1, {})
    assert yard.client.delete(f"/api/training/jobs/{job.id}").status_code == 200
    assert not [key for key in real_redis.keys("*") if job.id in key]


def test_the_development_backend_knows_the_job(make_yard: Any, real_redis: Redis) -> None:
    with DevBackend() as backend:
        yard = make_yard(BACKEND_URL=backend.url)
        job = Job(yard)
        assert backend.status(job.id)["model_name"] == "tiny"
        assert real_redis.zscore(Key.UNDELIVERED, job.id) is not None


def test_going_on_from_an_adapter_trains_it_on(yard: Yard) -> None:
    first = yard.create(config={"training": {"use_lora": True}}).json()["id"]
    assert yard.store.claim(first, 1, slot="s", worker="w", home="another")
    assert yard.store.complete(first, 1, {"model_dir": "model"})
    config = config_of(yard, model=f"ft:tiny:trainyard::{first}")
    assert config["model"]["name"] == f"job:{first}"
    assert config["lora"]["adapter"] == "continue"
    assert config["training"]["use_lora"] is True
    answer = yard.create(model="ft:tiny:trainyard::none")
    assert "there is no model" in refused(answer, 404, "model")
