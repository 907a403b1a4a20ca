"""One job: its status, staying with it to its end, its page."""

from __future__ import annotations

import sys
import time
import webbrowser

import click

from trainyard.cli.common import as_json_option, client, echo_json, job_id_argument
from trainyard.client import BridgeClient
from trainyard.contract.statuses import TERMINAL
from trainyard.settings import settings

FOLLOW_EVERY_S = 0.5


@click.command()
@job_id_argument
@click.option("-f", "--follow", is_flag=True, help="Stay with it until it ends; Ctrl-C detaches.")
@as_json_option
def status(job_id: str, follow: bool, as_json: bool) -> None:
    """Show everything that is known of one job.

    With --follow the exit code tells how it ended.
    """
    if follow:
        sys.exit(watch(client(), job_id, as_json=as_json))
    job = client().status(job_id)
    if as_json:
        echo_json(job)
        return
    from trainyard.cli.ending import ending
    from trainyard.cli.tables import job_details, show

    show(job_details(job))
    for line in ending(job, settings()):
        click.echo(line)


@click.command()
@job_id_argument
@as_json_option
def wait(job_id: str, as_json: bool) -> None:
    """Wait until a job has ended; the exit code tells how."""
    sys.exit(watch(client(), job_id, as_json=as_json))


@click.command("open")
@job_id_argument
def open_page(job_id: str) -> None:
    """Open a job's page of the development backend in the browser."""
    current = settings()
    if not current.has_development_backend:
        raise click.UsageError("another backend is named (BACKEND_URL, PULL_URL): it has the pages")
    url = f"{current.backend_url}/jobs/{job_id}"
    click.echo(url)
    webbrowser.open(url)


def watch(bridge: BridgeClient, job_id: str, *, as_json: bool = False) -> int:
    """Show a job until it has ended. 0 if it completed or a person detached, else 1."""
    from rich.console import Console

    from trainyard.cli.ending import ending
    from trainyard.cli.progress import ProgressView

    console = Console(stderr=as_json)
    try:
        with ProgressView(console) as view:
            while True:
                job = bridge.status(job_id)
                view.update(job)
                if job["status"] in TERMINAL:
                    break
                time.sleep(FOLLOW_EVERY_S)
    except KeyboardInterrupt:
        goes_on = "" if job["status"] == "paused" else " the job goes on."
        click.echo(f"\nDetached;{goes_on} Back to it: trainyard status -f {job_id}", err=True)
        return 0
    if as_json:
        echo_json(job)
    elif job["status"] == "failed":
        click.echo(f"{job_id} failed: {job['error']}", err=True)
        if job["error_hint"]:
            click.echo(f"hint: {job['error_hint']}", err=True)
    else:
        click.echo(f"{job_id} is {job['status']}")
        for line in ending(job, settings()):
            click.echo(line)
    return 0 if job["status"] == "completed" else 1
