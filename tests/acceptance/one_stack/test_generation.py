"""Questions to a trained model: answered on the slot, never beside a training."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.mute_model import MuteModel
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.client import BridgeError
from trainyard.store.keys import GenerationKey, Key

PROMPT = {"prompt": "2 + 2", "max_tokens": 4}


@pytest.fixture(scope="module")
def stack(stack: Stack) -> Stack:
    """With an adapter to ask."""
    stack.submit("made", steps=4, training={"use_lora": True})
    stack.wait("made", "completed")
    return stack


def ask(stack: Stack, **question: Any) -> list[dict[str, Any]]:
    return list(stack.bridge.generate("made", {**PROMPT, **question}))


def loading(stack: Stack, mute: MuteModel) -> Iterator[dict[str, Any]]:
    """A question whose model is being loaded."""
    said = stack.bridge.generate(mute.job_id, {**PROMPT, "max_tokens": 4096})
    while next(said)["kind"] != "loading":
        pass
    return said


def kinds(said: list[dict[str, Any]]) -> list[str]:
    return [one["kind"] for one in said if one["kind"] not in ("waiting", "text")]


def test_a_model_answers_stays_loaded_and_makes_room_for_a_training(stack: Stack) -> None:
    said = ask(stack)
    assert kinds(said) == ["loading", "done"]
    assert said[-1]["completion_tokens"] == 4
    assert said[-1]["reason"] == "length"
    for question in ({}, {"base": True}):  # an adapter's base model is there already
        said = ask(stack, **question)
        assert [one["loaded"] for one in said if one["kind"] == "loading"] == [True]
    assert kinds(ask(stack, checkpoint="checkpoints/checkpoint-4")) == ["loading", "done"]
    process = stack.training_process()
    stack.submit("trained-after", steps=1)
    stack.wait("trained-after", "completed")
    assert not process.is_running()


def test_it_waits_while_the_slot_trains_and_goes_when_its_client_does(stack: Stack) -> None:
    stack.submit("holder", steps=100_000, priority=0)  # it makes no way
    stack.wait_for_step("holder", 1)
    said = stack.bridge.generate("made", PROMPT)
    place = {"position": 1, "behind": ["holder"], "slots": 1, "makes_way": ""}
    assert next(said) == {"kind": "waiting", **place}
    said.close()  # type: ignore[attr-defined]  # a generator
    wait_for("it is forgotten", lambda: not stack.redis.zcard(Key.GENERATIONS))
    said = stack.bridge.generate("made", PROMPT)
    assert next(said)["kind"] == "waiting"
    stack.bridge.cancel("holder", force=True)
    assert kinds(list(said)) == ["loading", "done"]
    assert stack.bridge.status("holder")["status"] == "cancelled"


def test_a_client_that_leaves_ends_its_answer_and_the_model_stays(
    stack: Stack, mute: MuteModel
) -> None:
    said = loading(stack, mute)
    said.close()  # type: ignore[attr-defined]  # a generator
    wait_for("it is forgotten", lambda: not stack.redis.keys(GenerationKey.ASKED.of("*")))
    mute.speak()
    answered = list(stack.bridge.generate(mute.job_id, PROMPT))
    assert [one["loaded"] for one in answered if one["kind"] == "loading"] == [True]


def test_a_process_that_dies_is_said_and_leaves_the_slot_free(
    stack: Stack, mute: MuteModel
) -> None:
    ask(stack)
    said = loading(stack, mute)
    process = stack.training_process()
    os.kill(process.pid, signal.SIGKILL)
    last = list(said)[-1]
    assert last["kind"] == "failed"
    assert last["error"] == "The process that generates ended without an answer."
    stack.submit("then", steps=1)
    stack.wait("then", "completed")


@pytest.mark.parametrize(
    ("job_id", "question", "status", "sentence"),
    [
        ("unknown", PROMPT, 404, "there is no job"),
        ("made", {}, 422, "^give a prompt or messages, one of the two$"),
        ("made", {**PROMPT, "checkpoint": "../../etc"}, 422, "checkpoint"),
        ("made", {**PROMPT, "checkpoint": "checkpoints/checkpoint-99"}, 409, "has no checkpoints"),
        ("made", {**PROMPT, "max_tokens": 10**6}, 422, "max_tokens"),
    ],
)
def test_what_cannot_be_answered_is_refused_at_once(
    stack: Stack, job_id: str, question: dict[str, Any], status: int, sentence: str
) -> None:
    with pytest.raises(BridgeError, match=sentence) as refused:
        list(stack.bridge.generate(job_id, question))
    assert refused.value.status == status
