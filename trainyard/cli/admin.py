"""Commands that look after the yard itself: prune, doctor, selftest, completion."""

from __future__ import annotations

import logging
import math
import sys

import click

from trainyard.cli.common import EXIT_REFUSED, as_json_option, echo_json
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.units import MB
from trainyard.settings import RETENTION_DAYS_MAX, settings


def _number(_: click.Context, __: click.Parameter, days: float | None) -> float | None:
    if days is not None and math.isnan(days):  # it is in every range
        raise click.BadParameter("should be a number")
    return days


@click.command()
@click.option(
    "--days",
    type=click.FloatRange(0, RETENTION_DAYS_MAX),
    callback=_number,
    help="Instead of RETENTION_DAYS.",
)
@click.option("--models", is_flag=True, help="The trained models of such jobs as well.")
@as_json_option
def prune(days: float | None, models: bool, as_json: bool) -> None:
    """Remove what is older than RETENTION_DAYS: ended jobs, tokens, streams, caches.

    Couriers do this by themselves once an hour. Trained models stay, unless --models is given.
    """
    from redis.exceptions import RedisError

    from trainyard.store.connection import connect
    from trainyard.store.retention import Retention

    current = settings()
    try:
        retention = Retention(connect(current.redis_location), current)
        pruned = retention.prune(current.retention_days if days is None else days, models=models)
    except (RedisError, OSError) as error:
        raise TrainyardError(f"not pruned: {error}") from error
    if as_json:
        echo_json(pruned.as_dict())
        return
    click.echo(
        f"{pruned.jobs} jobs forgotten, {pruned.folders} job folders and {pruned.caches} caches "
        f"removed ({pruned.bytes / MB:,.1f} MB), {pruned.stream_entries} old replies"
    )


@click.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """Look for what is wrong with this yard, and say what to do.

    Redis, slots, versions, disk, GPU and driver, backend, bridge, clocks, and what the backend has
    not got. Exit code 1 if something fails; a warning is no failure.
    """
    from trainyard.local.doctor import examine

    findings = examine(settings())
    failed = any(finding.level == "failure" for finding in findings)
    if as_json:
        echo_json({"ok": not failed, "findings": [finding.as_dict() for finding in findings]})
    else:
        from trainyard.cli.tables import finding_table, show

        show(finding_table(findings))
    sys.exit(EXIT_REFUSED if failed else 0)


@click.command(short_help="Try every promise on this machine's own device.")
@as_json_option
def selftest(as_json: bool) -> None:
    """Try every promise on this machine's own device, with a tiny model and services of its own.

    It really pauses, resumes, kills and cancels trainings and takes the backend away. Takes a
    minute or two. Exit code 1 if a promise does not hold.
    """
    from rich.console import Console

    from trainyard.cli.tables import verdict_line
    from trainyard.local import selftest as trial

    logging.basicConfig(level=logging.ERROR)  # a service that was killed on purpose is no news
    console = Console(stderr=as_json)
    verdicts = []
    try:
        with console.status("Trying the promises ..."):
            for verdict in trial.run():
                verdicts.append(verdict)
                line = verdict_line(verdict.promise, verdict.reason, verdict.seconds)
                console.print(line, soft_wrap=True)
    except TrainyardError as error:
        raise TrainyardError(f"the self-test cannot go on: {error}") from error
    failed = [verdict for verdict in verdicts if not verdict.holds]
    if as_json:
        echo_json({"ok": not failed, "promises": [verdict.as_dict() for verdict in verdicts]})
    else:
        click.echo(f"{len(verdicts) - len(failed)} of {len(verdicts)} promises hold")
    sys.exit(EXIT_REFUSED if failed else 0)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and job ids.

    \b
    trainyard completion bash >> ~/.bashrc
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None, "the choice names shells that click knows"
    root = ctx.find_root().command
    click.echo(made(root, {}, "trainyard", "_TRAINYARD_COMPLETE").source())
