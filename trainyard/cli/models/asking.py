"""Questions to a trained model: ``trainyard generate`` and ``trainyard chat``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import click
from pydantic import ValidationError

from trainyard.cli.common import as_json_option, client, echo_json, job_id_argument
from trainyard.client import BridgeClient
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.generation.messages import GenerateBody
from trainyard.contract.request import FieldProblem

_PROMPT_COLUMNS = ("prompt", "instruction", "question", "input", "text")
_BAD_ROWS_SHOWN = 20


def _checkpoint(_: click.Context, __: click.Parameter, value: str | None) -> str:
    """A number of steps is enough."""
    return f"checkpoints/checkpoint-{value}" if value and value.isdecimal() else value or ""


def _how_it_answers(command: Callable[..., None]) -> Callable[..., None]:
    """Options of both commands."""
    for option in (
        click.option("--seed", type=int, default=0, help="Of the random choice."),
        click.option(
            "--temperature",
            type=click.FloatRange(0, 2),
            default=0.0,
            show_default=True,
            help="0: always the likeliest token.",
        ),
        click.option("--max-tokens", type=click.IntRange(1, 4096), default=256, show_default=True),
        click.option(
            "--checkpoint", callback=_checkpoint, help="Ask this one: its step, or its path."
        ),
        click.option("--base", is_flag=True, help="Ask the model as it was before the training."),
    ):
        command = option(command)
    return command


@click.command(short_help="Ask a trained model.")
@job_id_argument
@click.option("--prompt", help="The question; without it standard input is read.")
@click.option("--file", "rows", type=click.File("rb"), help="JSON lines, a question each.")
@_how_it_answers
@as_json_option
def generate(
    job_id: str, prompt: str | None, rows: BinaryIO | None, as_json: bool, **how: Any
) -> None:
    """Ask the trained model of a job; its answer is printed as it comes.

    \b
    trainyard generate job-1 --prompt "What is the capital of France?"
    trainyard generate job-1 --file questions.jsonl > answers.jsonl

    It runs on a slot while no training does: while every slot is busy, one makes way at its next
    step (SLIP_INS_PER_HOUR), and goes on by itself. Rows of a file have `messages`, or
    a question in `prompt`, `instruction`, `question`, `input` or `text`; each comes back with an
    `answer`.
    """
    if prompt is not None and rows is not None:
        raise click.UsageError("give --prompt or --file, one of the two")
    bridge = client()
    if rows is None:
        text = sys.stdin.read() if prompt is None else prompt
        if not text.strip():
            raise click.UsageError("the prompt is empty")
        if as_json:
            answer = "".join(bridge.answer(job_id, {"prompt": text, **how}, _tell))
            echo_json({"prompt": text, "answer": answer})
        else:
            _say(bridge, job_id, {"prompt": text, **how})
        return
    for row, question in _rows(rows):
        answer = "".join(bridge.answer(job_id, {**question, **how}, _tell))
        click.echo(json.dumps({**row, "answer": answer}, ensure_ascii=False))


@click.command(short_help="Talk with a trained model.")
@job_id_argument
@click.option("--system", help="What it is told before the conversation.")
@_how_it_answers
def chat(job_id: str, system: str | None, **how: Any) -> None:
    """Talk with the trained model of a job; an empty line or Ctrl-D ends it."""
    bridge = client()
    bridge.status(job_id)  # who is not there is told before anything is typed
    messages = [{"role": "system", "content": system}] if system else []
    while asked := _typed():
        messages.append({"role": "user", "content": asked})
        answer = _say(bridge, job_id, {"messages": messages, **how})
        messages.append({"role": "assistant", "content": answer})


def _typed() -> str:
    try:
        return str(click.prompt("you", default="", show_default=False, prompt_suffix="> ")).strip()
    except click.Abort as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise
        click.echo()
        return ""


def _say(bridge: BridgeClient, job_id: str, body: dict[str, Any]) -> str:
    """Print the answer as it comes; returns it."""
    said, late = list[str](), list[str]()

    def tell(note: str) -> None:
        # Why there is no answer yet is told at once; why there is no more, on a line of its own.
        (late.append if said else _tell)(note)

    for piece in bridge.answer(job_id, body, tell):
        click.echo(piece, nl=False)
        said.append(piece)
    click.echo()
    for note in late:
        _tell(note)
    answer = "".join(said)
    if not answer.strip():
        _tell("(it answers nothing)")
    return answer


def _tell(note: str) -> None:
    click.echo(note, err=True)


def _rows(file: BinaryIO) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row with its question. Raises TrainyardError, which names all bad rows, up to a bound:
    answers cost minutes, and none is asked for before all rows are known to be good."""
    found, bad = [], list[str]()
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            question = _question(row)
            GenerateBody.model_validate(question)
            found.append((row, question))
        except ValidationError as error:
            first, *_ = error.errors(include_url=False, include_input=False)
            bad.append(f"line {number} is no question: {FieldProblem.of(first)}")
        except (ValueError, RecursionError) as error:  # nested too deeply
            bad.append(f"line {number} {error if type(error) is ValueError else 'is no JSON'}")
    if bad:
        more = f"; {len(bad) - _BAD_ROWS_SHOWN:,} more" if len(bad) > _BAD_ROWS_SHOWN else ""
        columns = ", ".join(_PROMPT_COLUMNS)
        raise TrainyardError(
            f"{'; '.join(bad[:_BAD_ROWS_SHOWN])}{more}.",
            f"Nothing was asked. A row is a JSON object with {columns} or messages.",
        )
    return found


def _question(row: Any) -> dict[str, Any]:
    """``messages`` without the answer that may follow, or a ``prompt``. Raises ValueError."""
    if not isinstance(row, dict):
        raise ValueError("is no JSON object")
    messages = row.get("messages")
    if isinstance(messages, list):
        turns = messages[:-1] if messages[-1:] and _is_answer(messages[-1]) else messages
        return {"messages": turns}
    for column in _PROMPT_COLUMNS:
        if isinstance(row.get(column), str) and row[column]:
            return {"prompt": row[column]}
    raise ValueError("has no question")


def _is_answer(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant"
