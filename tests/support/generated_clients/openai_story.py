"""A fine-tuning from beginning to end by OpenAI's own client, which knows nothing of Trainyard."""

import json
import sys
import time

from openai import APIStatusError, OpenAI

url, wanted = sys.argv[1], json.loads(sys.argv[2])
client = OpenAI(base_url=f"{url}/v1", api_key=wanted["key"], max_retries=0)


def wait(job_id, *statuses):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in statuses:
            return job
        assert job.status not in ("failed", "cancelled", "succeeded"), job
        time.sleep(0.2)
    raise AssertionError(f"{job_id} is {job.status} for too long")


def rows(count):
    turns = (
        [
            {"role": "user", "content": f"What is {n} plus {n}?"},
            {"role": "assistant", "content": str(2 * n)},
        ]
        for n in range(count)
    )
    return "".join(json.dumps({"messages": one}) + "\n" for one in turns).encode()


training = client.files.create(file=("train me.jsonl", rows(32)), purpose="fine-tune")
validation = client.files.create(file=("held.jsonl", rows(4)), purpose="fine-tune")
assert client.files.wait_for_processing(training.id).filename == "train me.jsonl"
assert client.files.content(training.id).read() == rows(32)
assert [one.id for one in client.files.list(limit=1)][:2] == [validation.id, training.id]

job = client.fine_tuning.jobs.create(
    model="tiny",
    training_file=training.id,
    validation_file=validation.id,
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 40}}},
    suffix="sums",
    seed=7,
    metadata={"team": "blue"},
    extra_body={"config": wanted["config"]},
)
assert (job.object, job.seed, job.metadata) == ("fine_tuning.job", 7, {"team": "blue"})
client.fine_tuning.jobs.pause(job.id)
wait(job.id, "paused")
client.fine_tuning.jobs.resume(job.id)
job = wait(job.id, "succeeded")
assert job.fine_tuned_model == f"ft:tiny:trainyard:sums:{job.id}"
assert job.trained_tokens > 0 and job.finished_at >= job.created_at

events = list(client.fine_tuning.jobs.list_events(job.id, limit=5))
assert len({event.id for event in events}) == len(events) > 5
assert events[-1].message == f"Created fine-tuning job: {job.id}"
assert any(event.type == "metrics" and event.data["train_loss"] for event in events)
assert any(event.type == "metrics" and "valid_loss" in event.data for event in events)

points = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
assert points and points[0].fine_tuning_job_id == job.id
assert points[0].metrics.step == points[0].step_number

(result,) = job.result_files
table = client.files.content(result).text
assert table.startswith("step,epoch,train_loss,valid_loss"), table
assert client.files.retrieve(result).bytes == len(table)

models = [model.id for model in client.models.list()]
assert models[0] == job.fine_tuned_model and "tiny" in models
assert client.models.retrieve(job.fine_tuned_model).owned_by == "trainyard"

question = {
    "messages": [{"role": "user", "content": "What is 2 plus 2?"}],
    "max_completion_tokens": 8,
    "temperature": 0,
}
for name in (job.fine_tuned_model, points[-1].fine_tuned_model_checkpoint):
    answer = client.chat.completions.create(model=name, **question)
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.completion_tokens <= 8
    stream = client.chat.completions.create(
        model=name, stream=True, stream_options={"include_usage": True}, **question
    )
    chunks = list(stream)
    said = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert said == answer.choices[0].message.content
    assert chunks[-1].usage == answer.usage

again = client.fine_tuning.jobs.create(
    model=job.fine_tuned_model,
    training_file=training.id,
    extra_body={"config": {"training": {"max_steps": 100_000}}},
)
assert [one.id for one in client.fine_tuning.jobs.list(limit=1)][:2] == [again.id, job.id]
try:
    client.files.delete(training.id)
except APIStatusError as error:
    assert (error.status_code, error.code) == (400, "file_in_use")
else:
    raise AssertionError("a file that is used was deleted")
wait(again.id, "running")
client.fine_tuning.jobs.cancel(again.id)
wait(again.id, "cancelled")
assert client.files.delete(training.id).deleted
print("done")
