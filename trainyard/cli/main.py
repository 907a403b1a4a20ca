"""Command line ``trainyard``.

What only one command needs it imports itself, so that ``--help`` comes at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trainyard import __version__
from trainyard.cli.admin import completion, doctor, redeliver, selftest
from trainyard.cli.check_dataset import check_dataset
from trainyard.cli.common import (
    EXIT_CODES,
    EXIT_REFUSED,
    EXIT_SETTINGS,
    as_json_option,
    client,
    echo_json,
    job_id_argument,
)
from trainyard.cli.listing import ps
from trainyard.cli.removal import prune, remove
from trainyard.cli.submit import submit
from trainyard.cli.watching import open_page, status, wait
from trainyard.client import BridgeClient
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.statuses import TERMINAL
from trainyard.settings import SettingsError

FOLLOW_EVERY_S = 0.5
FOLLOW_OVERLAP = 1000
"""Lines asked for again while old ones are being cut, since offsets move meanwhile."""


_OTHER_NAMES = {"list": "ps", "ls": "ps", "delete": "rm", "remove": "rm", "follow": "wait"}
"""What people of other tools type."""


class Commands(click.Group):
    """Turns the errors that a person can act on into one sentence and an exit code."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _OTHER_NAMES.get(cmd_name, cmd_name))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            click.echo(f"trainyard: {error}", err=True)
            ctx.exit(EXIT_SETTINGS)
        except TrainyardError as error:
            click.echo(f"trainyard: {error}", err=True)
            ctx.exit(EXIT_REFUSED)


@click.group(
    cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__)
def main() -> None:
    """Fine-tune language models on the GPUs that you have.

    `trainyard demo` shows a whole job on this machine; `trainyard up` starts the services and
    keeps them running. The other commands speak to the bridge of `up`.
    """


@main.command()
def up() -> None:
    """Start all services and keep them running; Ctrl-C stops them.

    They are Redis (unless REDIS_URL is set), one worker per slot, the bridge, the development
    backend (unless BACKEND_URL is set) and Flower.
    """
    from trainyard.cli.up import run

    sys.exit(run())


@main.command(short_help="Run one whole job on this machine.")
@click.option("--model", help="A hub name or a folder; by default a small model made here.")
@click.option(
    "--dataset",
    type=click.Path(exists=True, path_type=Path),
    help="A data set file or folder; by default the functions of Python's standard library.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps at most.")
@click.option("--prompt", help="What the base and the trained model continue at the end.")
def demo(model: str | None, dataset: Path | None, steps: int | None, prompt: str | None) -> None:
    """Run one whole job on this machine, on free ports, and stop everything again."""
    from trainyard.cli.demo import run

    sys.exit(run(model=model, dataset=dataset, steps=steps, prompt=prompt))


@main.command()
@job_id_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends; Ctrl-C detaches.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 100_000),
    default=100,
    show_default=True,
    help="How many of the last lines.",
)
@as_json_option
def logs(job_id: str, follow: bool, lines: int, as_json: bool) -> None:
    """Print a job's log."""
    if as_json and follow:
        raise click.UsageError("--follow prints lines: leave out --json")
    bridge = client()
    page = bridge.logs(job_id, limit=lines, offset=-lines)
    if as_json:
        echo_json(page)
        return
    _echo_lines(page["logs"])
    if follow:
        seen = page["lines_cut"] + page["offset"] + len(page["logs"])
        _interruptibly(job_id, lambda: _follow(bridge, job_id, seen))


@main.command()
@job_id_argument
@as_json_option
def metrics(job_id: str, as_json: bool) -> None:
    """Print a job's metric points."""
    points = client().metrics(job_id)
    if as_json:
        echo_json(points)
        return
    from trainyard.cli.tables import metric_table, show

    show(metric_table(points))


@main.command()
@job_id_argument
@as_json_option
def checkpoints(job_id: str, as_json: bool) -> None:
    """List a job's checkpoints; resume --checkpoint takes their paths."""
    answer = client().checkpoints(job_id)
    if as_json:
        echo_json(answer)
        return
    from trainyard.cli.tables import checkpoint_table, show

    show(checkpoint_table(answer["checkpoints"]))


@main.command()
@job_id_argument
@as_json_option
def pause(job_id: str, as_json: bool) -> None:
    """Pause a job: it finishes its step and writes a checkpoint."""
    _print_answer(client().pause(job_id), as_json)


def _named(_: click.Context, __: click.Parameter, checkpoint: str | None) -> str | None:
    if checkpoint is not None and not checkpoint.strip():  # a shell's unset variable, mostly
        raise click.BadParameter(
            "it is empty: name one that `trainyard checkpoints` lists, or leave the option out"
        )
    return checkpoint


@main.command()
@job_id_argument
@click.option(
    "--checkpoint", callback=_named, help="Go on from this one (checkpoints/checkpoint-N)."
)
@as_json_option
def resume(job_id: str, checkpoint: str | None, as_json: bool) -> None:
    """Resume a paused job."""
    _print_answer(client().resume(job_id, checkpoint), as_json)


@main.command("force-start")
@job_id_argument
@click.option("--from-start", is_flag=True, help="Forget its checkpoints.")
@as_json_option
def force_start(job_id: str, from_start: bool, as_json: bool) -> None:
    """Let a waiting job run next; queue a failed or cancelled one again."""
    _print_answer(client().force_start(job_id, from_start=from_start), as_json)


@main.command()
@job_id_argument
@click.option("--force", is_flag=True, help="Kill its processes at once.")
@as_json_option
def cancel(job_id: str, force: bool, as_json: bool) -> None:
    """Cancel a job."""
    _print_answer(client().cancel(job_id, force=force), as_json)


def _follow(bridge: BridgeClient, job_id: str, seen: int) -> None:
    """Print new lines until the job has ended and nothing is left to print.

    ``seen`` lines of all were printed before. The bridge keeps only the newest lines, so that
    offsets move under us.
    """
    cut = 0
    while True:
        ended = bridge.status(job_id)["status"] in TERMINAL
        overlap = min(cut, FOLLOW_OVERLAP)
        page = bridge.logs(job_id, limit=100_000, offset=max(seen - cut - overlap, 0))
        cut = page["lines_cut"]
        if page["offset"] > max(seen - cut, 0):
            continue  # older lines were cut since the last answer: what we want moved down
        if cut > seen:
            click.echo(f"... {cut - seen} lines were cut", err=True)
        first = cut + page["offset"]
        new = page["logs"][max(seen - first, 0) :]
        _echo_lines(new)
        seen = max(seen, first + len(page["logs"]))
        if ended and not new:
            return
        time.sleep(FOLLOW_EVERY_S)


def _interruptibly(job_id: str, follow: Callable[[], None]) -> None:
    try:
        follow()
    except KeyboardInterrupt:
        click.echo(f"\nDetached; the job goes on. Back to it: trainyard logs -f {job_id}", err=True)


def _echo_lines(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_answer(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        echo_json(answer)
    else:
        click.echo(answer["message"])


@main.command("help", hidden=True)
@click.argument("command", required=False)
@click.pass_context
def show_help(ctx: click.Context, command: str | None) -> None:
    """Show the help of a command, or of all."""
    root = ctx.find_root()
    found = main.get_command(root, command) if command else main
    if found is None:
        raise click.UsageError(f"No such command '{command}'.")
    click.echo(found.get_help(click.Context(found, info_name=found.name, parent=root)))


for _command in (
    *(submit, ps, status, wait, open_page, remove, prune),
    *(check_dataset, completion, doctor, redeliver, selftest),
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
