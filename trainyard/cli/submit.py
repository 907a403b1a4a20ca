"""Submission of a job, ``trainyard submit``, and staying with it."""

from __future__ import annotations

import sys
from typing import Any

import click

from trainyard.cli.common import (
    as_json_option,
    client,
    complete_path,
    echo_json,
    several_jobs,
)
from trainyard.cli.queueing.clock_time import ClockTime
from trainyard.cli.watching import notify_option, watch
from trainyard.client import BridgeClient
from trainyard.contract.methods import listed, names
from trainyard.settings import Settings, settings

_FLAGS = {
    "model": "config.model.name",
    "eval_dataset": "eval_dataset_path",
    "method": "config.training.method",
    "epochs": "config.training.num_epochs",
    "steps": "config.training.max_steps",
    "batch_size": "config.training.batch_size",
    "learning_rate": "config.training.learning_rate",
    "lora": "config.training.use_lora",
    "name": "name",
    "job_id": "execution_id",
    "token": "job_token",
    "priority": "priority",
    "not_before": "not_before",
    "after": "after",
    "slip_in": "slip_in",
}


def _methods(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in names() if name.startswith(incomplete)]


@click.command(short_help="Submit a job: a YAML or JSON file, flags, or both.")
@click.argument("request_file", type=click.File("r"), required=False)
@click.option("--model", help="Hub name or folder of the base model.", shell_complete=complete_path)
@click.option(
    "--dataset",
    "data",
    multiple=True,
    metavar="PATH[:WEIGHT]",
    help="Path below DATASET_ROOTS, or what else the worker can reach; several are mixed, each as "
    "often as its weight says.",
    shell_complete=complete_path,
)
@click.option(
    "--eval-dataset",
    help="The same, of a data set of its own that evaluates.",
    shell_complete=complete_path,
)
@click.option("--method", help=f"{listed(names(), 'or')}.", shell_complete=_methods)
@click.option("--epochs", type=float, help="Times that the data set is gone through.")
@click.option("--steps", type=int, help="Optimizer steps at most.")
@click.option("--batch-size", type=int, help="Rows of one micro-batch.")
@click.option("--learning-rate", type=float)
@click.option("--lora", is_flag=True, default=None, help="Train an adapter, not the whole model.")
@click.option("--name", help="What people call the job.")
@click.option("--job-id", help="Its id; made if there is none.")
@click.option("--token", envvar="JOB_TOKEN", help="The backend's token for this job.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 runs first.")
@click.option(
    "--not-before",
    type=ClockTime(),
    help="Wait until then: 22:00 is the next one here, or ISO 8601 with its zone.",
)
@click.option(
    "--after",
    multiple=True,
    callback=several_jobs,
    metavar="JOB",
    help="Wait until this job, or all of a sweep, have completed; can be repeated.",
)
@click.option(
    "--slip-in",
    is_flag=True,
    default=None,
    help="Let a running job make way for this short one while every slot is busy; of priority 0.",
)
@click.option(
    "--sweep",
    "settings_swept",
    multiple=True,
    metavar="PATH=VALUE,VALUE",
    help="A job for each value of a field of config (training.learning_rate=1e-4,2e-4); several "
    "make a grid.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="PATH=VALUE",
    help="Any other field, as training.weight_decay=0.1.",
)
@click.option(
    "--allow-unknown", is_flag=True, help="Send fields that mean nothing; they are ignored."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing: say the steps, the rows, the memory and the time.",
)
@click.option(
    "-f", "--follow", is_flag=True, help="Stay with the job, or the sweep; Ctrl-C detaches."
)
@notify_option
@as_json_option
def submit(
    request_file: Any,
    data: tuple[str, ...],
    settings_swept: tuple[str, ...],
    assignments: tuple[str, ...],
    allow_unknown: bool,
    dry_run: bool,
    follow: bool,
    notify: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Submit the request in REQUEST_FILE (- for standard input), with the flags on top.

    \b
    trainyard submit request.yaml --epochs 1 --follow
    trainyard submit --model tiny --dataset chats.jsonl --set config.seed=7
    trainyard submit --model tiny --dataset chats.jsonl --dataset code.jsonl:0.5

    Its fields and paths are checked before anything is made; the rows of its data are read on the
    slot, and by --dry-run. A path may be typed as it lies here, if it is below DATASET_ROOTS or
    MODEL_ROOTS. With the development backend its row is made there first, as a
    backend of your own does; that makes the token too. With --follow the exit code tells how the
    job ended.
    """
    from trainyard.cli.queueing.sweep_flags import with_sweep
    from trainyard.cli.request_file import read_request, with_data, with_flags
    from trainyard.local.submission import UnknownFields, prepare, start

    if request_file is None and not any((data, assignments, settings_swept, *flags.values())):
        raise click.UsageError("give a request file, or --model and --dataset")
    follows = follow or notify
    try:
        body = read_request(request_file.read(), request_file.name) if request_file else {}
        body = with_sweep(with_data(body, data), settings_swept)
        body = with_flags(body, {_FLAGS[name]: value for name, value in flags.items()}, assignments)
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"{request_file.name} is no JSON and no YAML: byte {error.start} is no UTF-8 text"
        ) from None
    current, bridge = settings(), client()
    try:
        prepared = prepare(body, current, allow_unknown=allow_unknown)
    except UnknownFields as error:
        error.mend = "Mend or remove them, or send them all the same with --allow-unknown."
        raise
    if dry_run:
        _say_what_would_be(prepared, current, bridge, as_json=as_json)
        return
    submitted = start(bridge, current, prepared)
    answer = submitted.answer
    if submitted.unknown_there:
        click.echo(
            f"the development backend does not know this job: {submitted.unknown_there}", err=True
        )
    if as_json:
        echo_json(answer)
    else:
        for field in answer["ignored"]:
            click.echo(f"ignored: {field}", err=True)
        where = _where(answer, bridge)
        click.echo(f"{answer['job_id']} is {answer['status']}{where}")
        if answer.get("jobs"):  # a bridge of an older version makes no sweeps
            told = f"{len(answer['jobs'])} jobs: `trainyard sweep {answer['job_id']}` shows them"
            click.echo(told)
    if answer.get("is_new") is False:
        click.echo(
            "This very request was submitted before: no other job was made. To train again, give "
            "another --job-id.",
            err=True,
        )
    if follows:
        sys.exit(watch(bridge, answer["job_id"], as_json=as_json, notify=notify))


def _where(answer: dict[str, Any], bridge: BridgeClient) -> str:
    """The place of a job in the queue, or what else it waits for."""
    if answer["queue_position"]:
        return f", position {answer['queue_position']}"
    if answer["status"] != "queued":
        return ""
    first, *_ = answer.get("jobs") or [answer["job_id"]]
    reason = bridge.status(first)["waiting_reason"]
    return f": it {reason}" if reason else ""


def _say_what_would_be(
    body: dict[str, Any], current: Settings, bridge: BridgeClient, *, as_json: bool
) -> None:
    from trainyard.cli.forecasts.dry_run import forecast, lines
    from trainyard.local.submission import jobs_of

    first, *others = jobs_of({"job_token": "none", **body}, current)
    made = forecast(first, current, bridge)
    if as_json:
        echo_json(made)
        return
    for line in lines(made):
        click.echo(line)
    if others:
        click.echo(f"This is the first of {len(others) + 1} jobs.")
    click.echo("Nothing was sent.", err=True)
