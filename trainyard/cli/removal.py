"""Removal of jobs: ``trainyard rm`` of single ones, ``trainyard prune`` of all that are old."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from trainyard.cli.common import as_json_option, echo_json, job_ids_argument
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.statuses import TERMINAL
from trainyard.contract.units import MB
from trainyard.settings import RETENTION_DAYS_MAX, settings

if TYPE_CHECKING:
    from trainyard.store.job_store import JobStore
    from trainyard.store.retention import Pruned

_yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask; for scripts.")


def _number(_: click.Context, __: click.Parameter, days: float | None) -> float | None:
    if days is not None and math.isnan(days):  # it is in every range
        raise click.BadParameter("should be a number")
    return days


def _asked(what: str) -> None:
    """Ask the person at the terminal. Ends the command at a no, and if nobody can be asked."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody can be asked here: give -y to remove {what}")
    click.confirm(f"Remove {what}?", abort=True)


@click.command("rm")
@job_ids_argument
@_yes_option
@as_json_option
def remove(job_ids: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove jobs that have ended: record, log, checkpoints and the trained model.

    The name of a sweep means all its jobs: all have ended, or none is removed. The development
    backend's row goes too; a backend of your own keeps its own. On a terminal it asks; elsewhere it
    needs -y.
    """
    from redis.exceptions import RedisError

    from trainyard.local.backend_row import BackendError, delete_row
    from trainyard.store.connection import connect
    from trainyard.store.job_store import open_job_store
    from trainyard.store.retention import Retention

    current, removed = settings(), list[dict[str, Any]]()
    with connect(current.redis_location) as redis:
        try:
            named = _jobs_of(job_ids, open_job_store(redis, current))
        except RedisError as error:
            raise TrainyardError(f"nothing is removed: {error}") from error
        if not yes:
            _asked(f"{', '.join(named)} for good, with what was trained")
        for job_id in named:
            try:
                gone = Retention(redis, current).remove(job_id)
            except (RedisError, OSError) as error:
                raise TrainyardError(f"{job_id} is not removed: {error}") from error
            removed.append({"job_id": job_id, "bytes": gone.bytes})
            if not as_json:
                click.echo(f"{job_id} is removed ({gone.bytes / MB:,.1f} MB)")
            if current.has_development_backend:
                try:
                    delete_row(current.backend_url, job_id)
                except BackendError as error:
                    click.echo(f"the development backend keeps its row: {error}", err=True)
    if as_json:
        echo_json(removed)


def _jobs_of(names: Sequence[str], store: JobStore) -> list[str]:
    """Ids of jobs and of a sweep's, once. Raises TrainyardError if one of those has not ended."""
    found = list[str]()
    for name in names:
        jobs = store.group(name)
        if left := [f"{job.job_id} is {job.status}" for job in jobs if job.status not in TERMINAL]:
            raise TrainyardError(
                f"{name} is a sweep, and {', '.join(left)}.", f"End it: `trainyard cancel {name}`."
            )
        found += [job.job_id for job in jobs] or [name]
    return list(dict.fromkeys(found))


@click.command()
@click.option(
    "--days",
    type=click.FloatRange(0, RETENTION_DAYS_MAX),
    callback=_number,
    help="Instead of RETENTION_DAYS.",
)
@click.option("--models", is_flag=True, help="The trained models of such jobs as well.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_yes_option
@as_json_option
def prune(days: float | None, models: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove what is older than RETENTION_DAYS: ended jobs, tokens, streams, caches, uploads.

    Couriers do this by themselves once an hour. Trained models stay, unless --models is given. On
    a terminal it says what would go and asks; elsewhere --days and --models need -y.
    """
    from redis.exceptions import RedisError

    from trainyard.store.connection import connect
    from trainyard.store.retention import Retention

    current = settings()
    older_than = current.retention_days if days is None else days

    def pruned(dry: bool) -> Pruned:
        return retention.prune(older_than, models=models, dry_run=dry)

    try:
        with connect(current.redis_location) as redis:
            retention = Retention(redis, current)
            goes_anyway = days is None and not models and not sys.stdin.isatty()
            if not (dry_run or yes or goes_anyway):
                _asked(_said(pruned(True)))
            done = pruned(dry_run)
    except (RedisError, OSError) as error:
        raise TrainyardError(f"not pruned: {error}") from error
    if as_json:
        echo_json(done.as_dict())
    else:
        click.echo(f"{'Would remove' if dry_run else 'Removed'} {_said(done)}")


def _said(pruned: Pruned) -> str:
    kept = f", of which {pruned.models_kept} keep their model" if pruned.models_kept else ""
    return (
        f"{pruned.jobs} jobs from the job store, {pruned.folders} job folders{kept}, "
        f"{pruned.caches} caches, {pruned.uploads} uploads and "
        f"{pruned.stream_entries} old replies: {pruned.bytes / MB:,.1f} MB"
    )
