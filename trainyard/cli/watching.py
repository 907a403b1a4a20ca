"""One job: its status, its log, staying with it to its end, its page."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable

import click

from trainyard.cli.common import (
    EXIT_INTERRUPTED,
    as_json_option,
    client,
    echo_json,
    job_id_argument,
)
from trainyard.client import BridgeClient, BridgeError
from trainyard.contract.statuses import TERMINAL
from trainyard.settings import settings

notify_option = click.option(
    "--notify", is_flag=True, help="When it has ended ring the bell, and tell the desktop."
)
FOLLOW_EVERY_S = 0.5
FOLLOW_OVERLAP = 1000
"""Lines asked for again while old ones are being cut, since offsets move meanwhile."""


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


@click.command()
@job_id_argument
@notify_option
@as_json_option
def wait(job_id: str, notify: bool, as_json: bool) -> None:
    """Wait until a job, or all jobs of a sweep, have ended; the exit code tells how."""
    sys.exit(watch(client(), job_id, as_json=as_json, notify=notify))


@click.command()
@job_id_argument
@as_json_option
def errors(job_id: str, as_json: bool) -> None:
    """Show why a job failed, with its traceback, and how its earlier attempts ended."""
    answer = client().errors(job_id)
    if as_json:
        echo_json(answer)
        return
    from trainyard.cli.tables import plain

    ended = [f"attempt {one['attempt']}, {one['at']}:" for one in answer["attempts"]]
    told = list(zip(ended, answer["attempts"], strict=True))
    if answer["kind"] and not told:
        told = [(f"{job_id}:", answer)]
    if not told:
        click.echo(f"{job_id} is {answer['status']}: no attempt of it has failed")
    for title, error in told:
        click.echo(plain(f"{title} {error['kind']}: {error['message']}").plain)
        for frame in error["traceback"]:
            where = f"  {frame['file']}:{frame['line']} in {frame['function']}"
            click.echo(plain(f"{where}\n    {frame['code']}").plain)
        if error["exception"] and error["message"] not in error["exception"]:
            click.echo(plain(f"  {error['exception']}").plain)
        if error["hint"]:
            click.echo(plain(f"  hint: {error['hint']}").plain)


@click.command("open")
@job_id_argument
def open_page(job_id: str) -> None:
    """Open a job's page of the development backend, or a sweep's, in the browser."""
    current = settings()
    if not current.has_development_backend:
        raise click.UsageError("another backend is named (BACKEND_URL, PULL_URL): it has the pages")
    pages = "sweeps" if _is_sweep(client(), job_id) else "jobs"
    url = f"{current.backend_url}/{pages}/{job_id}"
    click.echo(url)
    webbrowser.open(url)


def watch(bridge: BridgeClient, job_id: str, *, as_json: bool = False, notify: bool = False) -> int:
    """Show a job, or a sweep, until it has ended. 0 if it completed, 130 if a person
    detached, else 1.

    ``notify``: ring the terminal's bell then, and show a note on the desktop if there is one.
    """
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
        return _detached(job_id, "status -f")
    except BridgeError as error:
        if error.status != 404 or not _is_sweep(bridge, job_id):
            raise
        return _watch_sweep(bridge, job_id, as_json=as_json, notify=notify)
    if notify:
        _notify(f"{job_id} is {job['status']}")
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


def _is_sweep(bridge: BridgeClient, name: str) -> bool:
    try:
        bridge.group(name)
    except BridgeError:
        return False
    return True


def _watch_sweep(bridge: BridgeClient, group: str, *, as_json: bool, notify: bool) -> int:
    """A line whenever a job of it has got on, and its table in the end."""
    from trainyard.cli.queueing.groups import counted, sweep_table
    from trainyard.cli.tables import show

    told = ""
    try:
        while True:
            answer = bridge.group(group)
            if told != (told := counted(answer["counts"])):
                click.echo(f"{group}: {told}", err=as_json)
            if all(job["status"] in TERMINAL for job in answer["jobs"]):
                break
            time.sleep(FOLLOW_EVERY_S)
    except KeyboardInterrupt:
        return _detached(group, "wait")
    if notify:
        _notify(f"{group}: {told}")
    if as_json:
        echo_json(answer)
    else:
        show(sweep_table(answer))
    return 0 if all(job["status"] == "completed" for job in answer["jobs"]) else 1


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
        sys.exit(_detached(job_id, "logs -f"))


def _detached(job_id: str, command: str) -> int:
    """The exit code of a Ctrl-C, which ends no job here."""
    click.echo(f"\nDetached from {job_id}. Back to it: trainyard {command} {job_id}", err=True)
    return EXIT_INTERRUPTED


def _echo_lines(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


def _notify(sentence: str) -> None:
    """A desktop that does not take the note (none is there, over ssh) is no error."""
    click.echo("\a", nl=False, err=True)
    if program := shutil.which("notify-send"):
        subprocess.run([program, "Trainyard", sentence], check=False, capture_output=True)
