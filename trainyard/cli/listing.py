"""Lists of jobs: ``trainyard ps``, and ``trainyard sweep`` of one sweep."""

from __future__ import annotations

import click

from trainyard.cli.common import as_json_option, client, echo_json, job_id_argument
from trainyard.contract.statuses import STATUSES


@click.command()
@click.argument("sweep", required=False)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([*map(str, STATUSES)]),
    help="Only these.",
)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="The newest so many.")
@click.option("--user", help="Only this user's.")
@click.option("--since", help="Only those made since then (2026-01-31T00:00:00Z).")
@as_json_option
def ps(
    sweep: str | None,
    statuses: tuple[str, ...],
    limit: int | None,
    user: str | None,
    since: str | None,
    as_json: bool,
) -> None:
    """List jobs, newest first. A narrow terminal shows fewer columns, and every id whole.

    A sweep is one line; with its name, or with --status, its jobs have a line each.
    """
    folds = not (sweep or statuses or as_json)
    asked = {"status": statuses, "user_id": user, "since": since, "group": sweep}
    bridge = client()
    jobs = bridge.jobs(**asked, limit=None if folds else limit)
    if sweep and not jobs:
        bridge.group(sweep)  # refuses a name that is none
    if as_json:
        echo_json(jobs)
        return
    from trainyard.cli.queueing.groups import folded
    from trainyard.cli.tables import show, show_jobs

    if jobs:
        show_jobs(folded(jobs)[:limit] if folds else jobs)
    else:
        show(
            "No such job."
            if statuses or user or since or sweep
            else "No jobs yet: `trainyard submit` starts one."
        )


@click.command()
@job_id_argument
@as_json_option
def sweep(job_id: str, as_json: bool) -> None:
    """Show a sweep: the settings of its jobs beside the best eval of each.

    `wait`, `cancel`, `pause`, `resume` and `force-start` take the name of a sweep as that of a job.
    """
    answer = client().group(job_id)
    if as_json:
        echo_json(answer)
        return
    from trainyard.cli.queueing.groups import counted, sweep_table
    from trainyard.cli.tables import show

    show(sweep_table(answer))
    click.echo(f"{job_id}: {counted(answer['counts'])}")
