"""Command line ``trainyard``.

What only one command needs it imports itself, so that ``--help`` comes at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from trainyard import __version__
from trainyard.cli.admin import (
    completion,
    doctor,
    drain,
    nodes,
    redeliver,
    selftest,
    undrain,
    usage,
)
from trainyard.cli.check_dataset import check_dataset, columns_of
from trainyard.cli.common import (
    EXIT_CODES,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    EXIT_SETTINGS,
    as_json_option,
    client,
    echo_json,
    job_id_argument,
)
from trainyard.cli.listing import ps, sweep
from trainyard.cli.models.asking import chat, generate
from trainyard.cli.models.exporting import export, merge, push
from trainyard.cli.removal import prune, remove
from trainyard.cli.submit import submit
from trainyard.cli.watching import errors, logs, open_page, status, wait
from trainyard.contract.error_tree import TrainyardError
from trainyard.settings import SettingsError

_OTHER_NAMES = {
    **dict.fromkeys(("list", "ls"), "ps"),
    **dict.fromkeys(("delete", "remove"), "rm"),
    **dict.fromkeys(("train", "run", "start"), "submit"),
    **dict.fromkeys(("show", "info", "describe"), "status"),
    **dict.fromkeys(("log", "tail"), "logs"),
    "follow": "wait",
}
"""What people of other tools type."""
_ENDS = ("stop", "kill", "down", "abort")


class Commands(click.Group):
    """Turns the errors that a person can act on into one sentence and an exit code."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _OTHER_NAMES.get(cmd_name, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in _ENDS:  # too much is at stake to guess
            raise click.UsageError(
                f"No such command '{args[0]}': `pause` and `cancel` end a job's run, and Ctrl-C "
                "where `trainyard up` runs stops the services."
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort) as error:
            # A "no" is an Abort as well; that of a prompt's Ctrl-C comes from it.
            if not isinstance(error.__context__ or error, KeyboardInterrupt):
                raise
            click.echo(err=True)
            ctx.exit(EXIT_INTERRUPTED)
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
@click.option(
    "--column",
    "--columns",
    "columns",
    multiple=True,
    metavar="ROLE=COLUMN",
    callback=columns_of,
    help="What a column of the data set means, as in prompt=my_column; can be repeated.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps at most.")
@click.option("--prompt", help="What both models are asked at the end; else the first row's own.")
def demo(**wanted: Any) -> None:
    """Run one whole job on this machine, on free ports, and stop everything again."""
    from trainyard.cli.demo import Wanted, run

    sys.exit(run(Wanted(**wanted)))


@main.command()
@job_id_argument
@as_json_option
def metrics(job_id: str, as_json: bool) -> None:
    """Print a job's metric points; step 0 is the eval before the first."""
    points = client().points(job_id)
    if as_json:
        echo_json(points)
        return
    from trainyard.cli.tables import show_metrics

    show_metrics(points)


@main.command()
@job_id_argument
@as_json_option
def checkpoints(job_id: str, as_json: bool) -> None:
    """List a job's checkpoints; resume --checkpoint takes their paths."""
    answer = client().checkpoints(job_id)
    if as_json:
        echo_json(answer)
        return
    from trainyard.cli.tables import show_checkpoints

    show_checkpoints(answer["checkpoints"])


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
    if command is None:
        click.echo(root.get_help())
        return
    found = main.get_command(root, command)
    if found is None:
        raise click.UsageError(f"No such command '{command}'.")
    click.echo(found.get_help(click.Context(found, info_name=found.name, parent=root)))


for _command in (
    *(submit, ps, sweep, status, errors, logs, wait, open_page, remove, prune),
    *(generate, chat, merge, export, push),
    *(check_dataset, completion, doctor, drain, nodes, redeliver, selftest, undrain, usage),
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
