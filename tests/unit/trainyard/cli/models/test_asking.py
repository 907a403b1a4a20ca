"""Questions from the command line: one, a file of them, a conversation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support.command_line import trainyard
from tests.support.fake_bridge import Call, FakeBridge


@pytest.fixture
def bridge(bridge: FakeBridge) -> FakeBridge:
    bridge.answers["POST", "/api/training/j/generate"] = echo
    bridge.answers["GET", "/api/training/status/j"] = 200, {"job_id": "j"}
    return bridge


def echo(call: Call) -> tuple[int, str]:
    asked = call.body.get("prompt") or call.body["messages"][-1]["content"]
    done = {"kind": "done", "reason": "stop", "completion_tokens": 1}
    said = ([{"kind": "text", "text": f"<{asked}>"}] if asked != "?" else []) + [done]
    return 200, "".join(f"data: {json.dumps(one)}\n\n" for one in said)


def test_a_question_from_an_option_or_standard_input(bridge: FakeBridge) -> None:
    done = trainyard("generate", "j", "--prompt", "a", "--checkpoint", "8", "--seed", "3")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "<a>\n", "")
    assert bridge.calls[0].body == {
        "prompt": "a",
        "base": False,
        "checkpoint": "checkpoints/checkpoint-8",
        "max_tokens": 256,
        "temperature": 0.0,
        "seed": 3,
    }
    assert trainyard("generate", "j", stdin="b").stdout == "<b>\n"
    assert trainyard("generate", "j", stdin=" ").exit_code == 2
    told = trainyard("generate", "j", "--prompt", "a", "--json").stdout
    assert json.loads(told) == {"prompt": "a", "answer": "<a>"}


def test_an_answer_that_is_empty_is_said(bridge: FakeBridge) -> None:
    done = trainyard("generate", "j", "--prompt", "?")
    assert (done.stdout, done.stderr) == ("\n", "(it answers nothing)\n")


def test_why_an_answer_was_cut_stands_on_a_line_of_its_own(bridge: FakeBridge) -> None:
    def cut(call: Call) -> tuple[int, str]:
        status, said = echo(call)
        return status, said.replace('"stop"', '"length"')

    bridge.answers["POST", "/api/training/j/generate"] = cut
    done = trainyard("generate", "j", "--prompt", "a")
    assert done.output.splitlines()[0] == "<a>"
    assert done.output.splitlines()[1].startswith("(cut after 1 tokens")


def test_each_row_of_a_file_comes_back_with_its_answer(bridge: FakeBridge, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"instruction": "a", "id": 7},
        {"messages": [{"role": "user", "content": "é"}, {"role": "assistant", "content": "x"}]},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = trainyard("generate", "j", "--file", str(file))
    answers = [{**rows[0], "answer": "<a>"}, {**rows[1], "answer": "<é>"}]
    assert [json.loads(line) for line in done.stdout.splitlines()] == answers
    file.write_text('{"prompt": "a"}\n{"id": 1}\nnothing\n[1]\n' + '{"id": 2}\n' * 30)
    asked = len(bridge.calls)
    refused = trainyard("generate", "j", "--file", str(file))
    assert refused.exit_code == 1
    assert "line 2 has no question; line 3 is no JSON; line 4 is no JSON object" in refused.stderr
    assert "line 21 has no question; 13 more." in refused.stderr
    assert len(bridge.calls) == asked, "nothing is asked before all rows are good"
    turns = [[], [{"role": "assistant", "content": "b"}], [{"role": "user", "text": "a"}]]
    file.write_text("".join(json.dumps({"messages": those}) + "\n" for those in turns))
    refused = trainyard("generate", "j", "--file", str(file))
    assert "line 1 is no question: give a prompt or messages" in refused.stderr
    assert "line 2 is no question: give a prompt or messages" in refused.stderr
    assert "line 3 is no question: messages.0.content: Field required" in refused.stderr
    file.write_bytes(b'{"prompt": "\xff"}\n' + b"[" * 100_000)
    refused = trainyard("generate", "j", "--file", str(file))
    assert "line 1 is no JSON; line 2 is no JSON." in refused.stderr
    assert len(bridge.calls) == asked


def test_a_conversation_remembers_what_was_said(bridge: FakeBridge) -> None:
    done = trainyard("chat", "j", "--system", "be brief", stdin="a\nb\n\n")
    assert done.exit_code == 0
    assert [turn["content"] for turn in bridge.calls[-1].body["messages"]] == [
        *("be brief", "a", "<a>", "b")
    ]


def test_a_conversation_with_nobody(bridge: FakeBridge) -> None:
    done = trainyard("chat", "other", stdin="a\n\n")
    assert (done.exit_code, done.stdout) == (1, "")
    assert [call.path for call in bridge.calls] == ["/api/training/status/other"]


@pytest.mark.parametrize(("ends", "code"), [(KeyboardInterrupt, 130), (EOFError, 0)])
def test_how_a_conversation_ends(
    bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch, ends: type[BaseException], code: int
) -> None:
    def prompt(*_: Any, **__: Any) -> str:
        try:
            raise ends
        except ends:
            raise click.Abort from None  # as click's own

    monkeypatch.setattr(click, "prompt", prompt)
    assert trainyard("chat", "j").exit_code == code


def test_why_there_is_no_answer_yet_is_told(bridge: FakeBridge) -> None:
    def waits(call: Call) -> tuple[int, str]:
        status, said = echo(call)
        place = {"kind": "waiting", "position": 1, "behind": ["long"], "slots": 1}
        news = [place, {**place, "makes_way": "long"}]
        return status, "".join(f"data: {json.dumps(one)}\n\n" for one in news) + said

    bridge.answers["POST", "/api/training/j/generate"] = waits
    assert trainyard("generate", "j", "--prompt", "a").stderr.splitlines() == [
        "it waits for a slot, as number 1, behind long",
        "it slips in: job long makes way at its next step",
    ]
