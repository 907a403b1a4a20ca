"""Chat completions of OpenAI's clients: answers, and what is refused before a slot hears of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.openai_yard import Yard, refused
from trainyard.contract.generation.messages import Done, Loading, NotGenerated, Said, TextPiece
from trainyard.scheduling.generations import Generations
from trainyard.store.keys import Key

ASKED = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": "2 + 2"}]
ANSWER = [
    Loading(loaded=True),
    TextPiece(text="4"),
    TextPiece(text="!"),
    Done(reason="stop", prompt_tokens=7, completion_tokens=2, seconds=0.1),
]


@pytest.fixture
def model(yard: Yard) -> str:
    job_id = yard.create().json()["id"]
    assert yard.store.claim(job_id, 1, slot="s", worker="w", home="another")
    assert yard.store.complete(job_id, 1, {"model_dir": "model"})
    yard.store.redis.zadd(Key.SLOTS, {"s": 1})
    return f"ft:tiny:trainyard::{job_id}"


class Slot:
    """What answers one generation with the same words always, in a thread."""

    def __init__(self, redis: Redis, answer: list[Said]) -> None:
        self._generations = Generations(redis)
        self._answer = answer
        self._thread = threading.Thread(target=self._serve)
        self.asked: Any = None

    def __enter__(self) -> Slot:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _serve(self) -> None:
        for _ in range(1000):
            for name in self._generations.waiting():
                self.asked = self._generations.claim(name)
                for one in self._answer:
                    self._generations.say(name, one)
                return
            threading.Event().wait(0.02)


def ask(yard: Yard, model: str, **more: Any) -> Any:
    body = {"model": model, "messages": ASKED, **more}
    return yard.client.post("/v1/chat/completions", json=body)


def chunks(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


REFUSED = [
    ({"n": 2}, "n"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"stop": ["x"]}, "stop"),
    ({"logprobs": True}, "logprobs"),
    ({"top_p": 0.5}, "top_p"),
    ({"no_such": 1}, "no_such"),
    ({"max_tokens": 100_000}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
]


def test_what_cannot_be_asked_is_refused_by_name(yard: Yard, model: str) -> None:
    for changes, param in REFUSED:
        refused(ask(yard, model, **changes), 400, param)
    for unknown in ("gpt-4o", "ft:tiny:trainyard::none"):
        assert "GET /v1/models" in refused(ask(yard, unknown), 404, "model")
    said = refused(ask(yard, f"{model}:ckpt-step-9"), 400)
    assert "has no checkpoints/checkpoint-9" in said


def test_one_more_than_may_wait_is_to_ask_again(
    yard: Yard, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainyard.scheduling.generations.WAITING_MAX", 0)
    assert "wait already" in refused(ask(yard, model), 429)


def test_an_answer_whole_and_in_pieces(yard: Yard, model: str, real_redis: Redis) -> None:
    neutral = {"n": 1, "top_p": 1, "stop": None, "tools": [], "user": "me", "temperature": 0}
    with Slot(real_redis, ANSWER) as slot:
        answer = ask(yard, model, max_completion_tokens=5, seed=-1, **neutral).json()
    (choice,) = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("4!", "stop")
    counts = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert (answer["object"], answer["model"], answer["usage"]) == (
        "chat.completion",
        model,
        counts,
    )
    question = slot.asked.question
    assert [turn.role for turn in question.messages] == ["system", "user"]
    assert (question.max_tokens, question.temperature) == (5, 0)
    with Slot(real_redis, ANSWER):
        options = {"include_usage": True}
        told = chunks(ask(yard, model, stream=True, stream_options=options).text)
    assert {one["object"] for one in told} == {"chat.completion.chunk"}
    assert len({one["id"] for one in told}) == 1
    assert told.pop()["usage"] == counts
    deltas = [one["choices"][0]["delta"] for one in told]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "4"}, {"content": "!"}, {}]
    assert told[-1]["choices"][0]["finish_reason"] == "stop"


def test_no_answer_is_an_error_in_both_ways(yard: Yard, model: str, real_redis: Redis) -> None:
    failed: list[Said] = [NotGenerated(error="It broke.", hint="Ask again.")]
    with Slot(real_redis, failed):
        assert refused(ask(yard, model), 503) == "It broke. Ask again."
    with Slot(real_redis, failed):
        told = chunks(ask(yard, model, stream=True).text)
    assert told[-1]["error"]["message"] == "It broke. Ask again."


def test_base_models_are_listed_and_not_asked(make_yard: Any, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "base"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    yard = make_yard(MODEL_ROOTS=str(folder.parent))
    assert [one["id"] for one in yard.get("models").json()["data"]] == ["base"]
    assert yard.get("models/base").json()["object"] == "model"
    assert "is a base model" in refused(ask(yard, "base"), 400, "model")
