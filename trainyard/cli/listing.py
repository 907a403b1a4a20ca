"""List of jobs: ``trainyard ps``."""

from __future__ import annotations

import click

from trainyard.cli.common import as_json_option, client, echo_json
from trainyard.contract.statuses import STATUSES


@click.command()
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
    statuses: tuple[str, ...],
    limit: int | None,
    user: str | None,
    since: str | None,
    as_json: bool,
) -> None:
    """List jobs, newest first. A narrow terminal shows fewer columns, and every id whole."""
    jobs = client().jobs(status=statuses, user_id=user, since=since, limit=limit)
    if as_json:
        echo_json(jobs)
        return
    from trainyard.cli.tables import show, show_jobs

    if jobs:
        show_jobs(jobs)
    else:
        show(
            "No such job."
            if statuses or user or since
            else "No jobs yet: `trainyard submit` starts one."
        )
