"""Submission of a job, ``trainyard submit``, and staying with it."""

from __future__ import annotations

import sys
from typing import Any

import click

from trainyard.cli.common import as_json_option, client, echo_json
from trainyard.cli.watching import watch
from trainyard.contract.methods import listed, names
from trainyard.settings import settings

_FLAGS = {
    "model": "config.model.name",
    "dataset": "dataset_path",
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
}


@click.command(short_help="Submit a job: a YAML or JSON file, flags, or both.")
@click.argument("request_file", type=click.File("r"), required=False)
@click.option("--model", help="Hub name or folder of the base model.")
@click.option("--dataset", help="Path below DATASET_ROOTS, or what else the worker can reach.")
@click.option("--method", help=f"{listed(names(), 'or')}.")
@click.option("--epochs", type=float, help="Times that the data set is gone through.")
@click.option("--steps", type=int, help="Optimizer steps at most.")
@click.option("--batch-size", type=int, help="Rows of one micro-batch.")
@click.option("--learning-rate", type=float)
@click.option("--lora", is_flag=True, default=None, help="Train an adapter, not the whole model.")
@click.option("--name", help="What people call the job.")
@click.option("--job-id", help="Its id; made if there is none.")
@click.option("--token", envvar="JOB_TOKEN", help="The backend's token for this job.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 runs first.")
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Any other field.")
@click.option(
    "--allow-unknown", is_flag=True, help="Send fields that mean nothing; they are ignored."
)
@click.option("-f", "--follow", is_flag=True, help="Stay with the job; Ctrl-C detaches.")
@as_json_option
def submit(
    request_file: Any,
    assignments: tuple[str, ...],
    allow_unknown: bool,
    follow: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Submit the request in REQUEST_FILE (- for standard input), with the flags on top.

    \b
    trainyard submit request.yaml --epochs 1 --follow
    trainyard submit --model tiny --dataset chats.jsonl --set config.seed=7

    It is checked before anything is made; a path may be typed as it lies here, if it is below
    DATASET_ROOTS or MODEL_ROOTS. With the development backend its row is made there first, as a
    backend of your own does; that makes the token too. With --follow the exit code tells how the
    job ended.
    """
    from trainyard.cli.request_file import read_request, with_flags
    from trainyard.local.submission import prepare, start

    if request_file is None and not any(flags.values()) and not assignments:
        raise click.UsageError("give a request file, or --model and --dataset")
    try:
        body = read_request(request_file.read(), request_file.name) if request_file else {}
        body = with_flags(body, {_FLAGS[name]: value for name, value in flags.items()}, assignments)
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"{request_file.name} is no JSON and no YAML: byte {error.start} is no UTF-8 text"
        ) from None
    current, bridge = settings(), client()
    submitted = start(bridge, current, prepare(body, current, allow_unknown=allow_unknown))
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
        where = f", position {answer['queue_position']}" if answer["queue_position"] else ""
        click.echo(f"{answer['job_id']} is {answer['status']}{where}")
    if answer.get("is_new") is False:
        click.echo(
            "This very request was submitted before: no other job was made. To train again, give "
            "another --job-id.",
            err=True,
        )
    if follow:
        sys.exit(watch(bridge, answer["job_id"], as_json=as_json))
