"""Check of a job's data set, ``trainyard check-dataset``, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import click

from trainyard.child_process import python_module
from trainyard.contract.methods import DEFAULT_METHOD, names
from trainyard.home import keep_private, make_folder
from trainyard.secret_environment import SECRETS_FD_VARIABLE, seal, without_secrets
from trainyard.settings import SettingsError, settings

EXIT_NOT_USABLE = 2
EXIT_INTERRUPTED = 130
NO_MODEL = "-"


def _columns(_: click.Context, __: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = next((text for text, pair in zip(given, pairs, strict=True) if not all(pair)), None)
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r} is not ROLE=COLUMN, as in prompt=my_column")
    return {role: column for role, _, column in pairs}


def _not_empty(_: click.Context, __: click.Parameter, path: str) -> str:
    if not path.strip():
        raise click.BadParameter("it is empty: name a file, a folder or an address")
    return path


@click.command("check-dataset", short_help="Check a data set before a job takes the GPU.")
@click.argument("path", callback=_not_empty)
@click.option("--model", help="A folder or a hub name: whose tokens are counted.")
@click.option("--method", type=click.Choice(names()), default=DEFAULT_METHOD, show_default=True)
@click.option("--max-length", type=int, help="As config.training.max_length.")
@click.option("--subset", help="One of several subsets, or the folder of one.")
@click.option("--split", help="The split that trains, if it is not the one named train.")
@click.option("--text-field", help="The column of text.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=COLUMN",
    callback=_columns,
    help="What a column means, as in prompt=my_column; can be repeated.",
)
@click.option("--format", "dataset_format", help="The shape, as config.data.dataset_format.")
@click.option("--max-samples", type=int, help="Rows to choose at most.")
@click.option("--train-split", type=float, help="Share of the rows that train.")
@click.option("--eval-split", type=float, help="Share of the rows that evaluate.")
@click.option("--seed", type=int, help="Of the choice of rows.")
@click.option("--skip-bad-rows", is_flag=True, help="Leave out rows that cannot be used.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for programs.")
def check_dataset(path: str, model: str | None, as_json: bool, **options: Any) -> None:
    """Check the data set at PATH as a job would, without a GPU.

    PATH is a file, a folder or an address, anywhere that you may read. With --model its rows are
    tokenised as for a training. Exit code: 0 usable, 1 usable with warnings, 2 not usable.
    """
    sys.exit(_run(path, model, _request(path, model, options), as_json))


def _request(path: str, model: str | None, options: dict[str, Any]) -> dict[str, Any]:
    training = {name: options.pop(name) for name in ("method", "max_length")}
    seed = options.pop("seed")
    config = {
        "model": {"name": model or NO_MODEL},
        "training": training,
        "data": {name: None if value in ("", {}) else value for name, value in options.items()},
    }
    if seed is not None:
        config["seed"] = seed
    return {"config": config, "dataset_path": path, "job_token": "none-for-a-check"}


def _run(path: str, model: str | None, body: dict[str, Any], as_json: bool) -> int:
    keep_private()
    # Late: pydantic's models take a while, and every command imports this file.
    from trainyard.contract.parser import parse_request
    from trainyard.contract.request import RequestInvalid

    try:
        config = parse_request(body).config
    except RequestInvalid as error:
        return _not_usable(path, str(error), as_json)
    current = settings()
    cache = current.trainyard_home / "cache"
    try:
        make_folder(cache)
    except SettingsError as error:
        return _not_usable(path, str(error), as_json)
    spec = {
        "path": path,
        "config": config.model_dump(mode="json"),
        "with_model": model is not None,
        "model_roots": [str(root) for root in current.model_roots],
        "cache_dir": str(cache),
        "max_download_gb": current.max_download_gb,
        "allow_private_urls": current.allow_private_urls,
        "as_json": as_json,
    }
    try:
        code = _check(spec)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if code < 0:
        name = signal.Signals(-code).name
        return _not_usable(path, f"What reads the data set was ended by {name}.", as_json)
    return code


def _check(spec: dict[str, Any]) -> int:
    """As a job: what reads the data set has the secrets of this environment sealed."""
    secrets = seal(os.environ)
    try:
        return subprocess.run(
            python_module("tasks.datasets.check"),
            input=json.dumps(spec).encode(),
            check=False,
            env={**without_secrets(os.environ), SECRETS_FD_VARIABLE: str(secrets)},
            pass_fds=(secrets,),
        ).returncode
    finally:
        os.close(secrets)


def _not_usable(path: str, reason: str, as_json: bool) -> int:
    if as_json:
        nothing = {"path": path, "usable": False, "rows": 0, "shape": None, "splits": {}}
        click.echo(json.dumps({**nothing, "problems": [], "error": reason}, indent=2))
    else:
        click.echo(f"trainyard: {reason}", err=True)
    return EXIT_NOT_USABLE
