"""Commands that look after the yard itself: nodes, drain, redeliver, doctor, and so on."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from trainyard.cli.common import (
    EXIT_REFUSED,
    any_job_argument,
    as_json_option,
    client,
    echo_json,
)
from trainyard.contract.error_tree import TrainyardError
from trainyard.settings import settings

if TYPE_CHECKING:
    from redis import Redis


@click.command(short_help="List the slots of every host.")
@as_json_option
def nodes(as_json: bool) -> None:
    """List the slots whose host is there: what each does, its GPUs, the job that it runs."""
    from trainyard.scheduling.nodes import nodes_of

    with _redis("the slots are not known") as redis:
        found = nodes_of(redis)
    if as_json:
        echo_json([node.as_dict() for node in found])
        return
    from trainyard.cli.tables import node_table, show

    show(node_table(found))


def _month(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", value, re.ASCII):
        raise click.BadParameter("give a month as 2026-11")
    return value


@click.command()
@click.option("--month", callback=_month, help="As 2026-11, of UTC; by default this one.")
@click.option("--by", type=click.Choice(["user", "model", "slot"]), help="A row for each.")
@as_json_option
def usage(month: str | None, by: str | None, as_json: bool) -> None:
    """Show the hours in slots, the GPU hours, the energy and the cost of a month.

    An attempt counts when it has ended, in each month that it ran in. Jobs may be gone: the sums
    stay for three years. PRICE_PER_GPU_HOUR, PRICE_PER_KWH and CURRENCY, as the bridge has them
    now, give the cost.
    """
    answer = client().usage(month=month, by=by)
    if as_json:
        echo_json(answer)
        return
    from trainyard.cli.reports.usage import show_usage

    show_usage(answer)


@click.command(short_help="Let a slot or a host take no more jobs.")
@click.argument("name", metavar="SLOT|HOST")
@click.option("--checkpoint", is_flag=True, help="Put back what runs there, with a checkpoint.")
@as_json_option
def drain(name: str, checkpoint: bool, as_json: bool) -> None:
    """Let a slot, or all slots of a host, take no more jobs. What runs there goes on.

    With --checkpoint it is put back into the queue instead, and goes on from its checkpoint on
    another slot of its host, or after `trainyard undrain`. A drain holds over restarts, until then.
    """
    from trainyard.scheduling.drains import Drains
    from trainyard.scheduling.slot_names import host_of
    from trainyard.scheduling.slots import SlotRegistry
    from trainyard.store.job_store import open_job_store

    put_back: list[str] = []
    with _redis("nothing was changed") as redis:
        slots = SlotRegistry(redis).known()
        known = slots | {host_of(slot) for slot in slots}
        if name not in known:
            raise TrainyardError(
                f"there is no slot or host {name!r}", f"known: {', '.join(sorted(known))}"
            )
        Drains(redis).order(name)  # first: what is claimed before is found, nothing is after
        if checkpoint:
            put_back = open_job_store(redis, settings()).ask_put_back(name)
    if as_json:
        echo_json({"name": name, "drained": True, "put_back": put_back})
        return
    click.echo(f"{name} takes no more jobs; `trainyard undrain {name}` undoes it")
    for job_id in put_back:
        click.echo(f"{job_id} is put back into the queue when it has written a checkpoint")


@click.command(short_help="Let a slot or a host take jobs again.")
@click.argument("name", metavar="SLOT|HOST")
@as_json_option
def undrain(name: str, as_json: bool) -> None:
    """Let a slot, or the slots of a host, take jobs again, within seconds and if they are fit."""
    from trainyard.scheduling.drains import Drains

    with _redis("nothing was changed") as redis:
        drains = Drains(redis)
        if not drains.lift(name):
            drained = ", ".join(sorted(drains.all())) or "nothing"
            raise TrainyardError(f"{name} is not drained", f"{drained} is")
    if as_json:
        echo_json({"name": name, "drained": False})
    else:
        click.echo(f"{name} takes jobs within seconds")


@contextlib.contextmanager
def _redis(failed: str) -> Iterator[Redis]:
    """The Redis of the yard. Raises TrainyardError, which says what ``failed``, if it is away."""
    from redis.exceptions import RedisError

    from trainyard.store.connection import connect

    try:
        with connect(settings().redis_location) as redis:
            yield redis
    except RedisError as error:
        raise TrainyardError(f"{failed}: {error}") from error


@click.command(short_help="Send reports to the backend again.")
@any_job_argument
@click.option("--all", "all_jobs", is_flag=True, help="Of every job.")
@click.option("--from-start", is_flag=True, help="All that is known of a job, not only the rest.")
@as_json_option
def redeliver(job_id: str | None, all_jobs: bool, from_start: bool, as_json: bool) -> None:
    """Send again what the backend refused, and try at once what waits for it.

    With --from-start all that the job's stream and its folder hold is sent again: every status,
    every metric, the whole log. Each message has the Idempotency-Key that it had before.
    """
    from trainyard.store.job_store import open_job_store
    from trainyard.store.redelivery import NotKept, Redelivered, Redelivery

    if bool(job_id) == all_jobs:
        raise click.UsageError("name a JOB_ID, or give --all")
    current, done = settings(), list[Redelivered]()
    with _redis("nothing is sent again") as redis:
        redelivery = Redelivery(redis)
        if job_id:  # or a sweep's name
            group = open_job_store(redis, current).group(job_id)
            named = [one.job_id for one in group] or [job_id]
        else:
            named = redelivery.jobs(all_known=from_start)
        for one in named:
            try:
                folder = current.job_dir(one) if from_start else None
                done.append(redelivery.ask(one, from_start=from_start, folder=folder))
            except NotKept as error:
                if job_id == one:
                    raise
                click.echo(f"trainyard: {error}", err=True)
    if as_json:
        echo_json([one.as_dict() for one in done])
        return
    for sent in done:
        older = f", with {sent.older_lines} older log lines" if sent.older_lines else ""
        what = f"everything{older}" if from_start else f"{sent.messages} refused messages"
        gone = f"; {sent.gone} more are no longer kept" if sent.gone else ""
        click.echo(f"{sent.job_id}: {what} will be sent again{gone}")
    if not done:
        click.echo("The backend has got everything.")


@click.command()
@click.option("--backend", metavar="URL", help="Instead: check this backend with --job, --token.")
@click.option("--job", metavar="JOB_ID", help="A row that was made there for it.")
@click.option("--token", envvar="JOB_TOKEN", help="That row's job_token; or set JOB_TOKEN.")
@as_json_option
def doctor(backend: str | None, job: str | None, token: str | None, as_json: bool) -> None:
    """Look for what is wrong with this yard, and say what to do.

    Redis, slots, versions, disk, GPU and driver, backend, bridge, clocks, and what the backend has
    not got. Exit code 1 if something fails; a warning is no failure.

    With --backend one of each message is sent to a row that was made for it, and what the backend
    answers is judged as a courier would; the row ends as completed.
    """
    from trainyard.local.diagnosis.backend_findings import checklist
    from trainyard.local.diagnosis.doctor import examine

    if backend is None:
        findings = examine(settings())
    elif job and token:
        findings = checklist(backend, job, token)
    else:
        raise click.UsageError("--backend needs --job and --token")
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
