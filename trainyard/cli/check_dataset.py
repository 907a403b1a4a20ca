"""Check of a job's data set, ``trainyard check-dataset``, in a process of its own."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainyard.child_process import python_module
from trainyard.cli.common import EXIT_INTERRUPTED, complete_path
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.methods import DEFAULT_METHOD, names
from trainyard.home import keep_private, make_folder
from trainyard.secret_environment import SECRETS_FD_VARIABLE, seal, without_secrets
from trainyard.settings import Settings, SettingsError, settings

if TYPE_CHECKING:
    from trainyard.contract.config import JobConfig

EXIT_NOT_USABLE = 2
NO_MODEL = "-"


def columns_of(_: click.Context, __: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = next((text for text, pair in zip(given, pairs, strict=True) if not all(pair)), None)
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r} is not ROLE=COLUMN, as in prompt=my_column")
    return {role: column for role, _, column in pairs}


def _not_empty(_: click.Context, __: click.Parameter, paths: tuple[str, ...]) -> tuple[str, ...]:
    if not all(path.strip() for path in paths):
        raise click.BadParameter("it is empty: name a file, a folder or an address")
    return paths


@click.command("check-dataset", short_help="Check a data set before a job takes the GPU.")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="PATH[:WEIGHT]...",
    callback=_not_empty,
    shell_complete=complete_path,
)
@click.option(
    "--model",
    help="A folder or a hub name: whose tokens are counted.",
    shell_complete=complete_path,
)
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
    callback=columns_of,
    help="What a column means, as in question=my_column; can be repeated.",
)
@click.option("--format", "dataset_format", help="The shape, as config.data.dataset_format.")
@click.option("--max-samples", type=int, help="Rows to choose at most.")
@click.option("--train-split", type=float, help="Share of the rows that train.")
@click.option("--eval-split", type=float, help="Share of the rows that evaluate.")
@click.option("--seed", type=int, help="Of the choice of rows.")
@click.option("--skip-bad-rows", is_flag=True, help="Leave out rows that cannot be used.")
@click.option("--eval", "eval_path", metavar="PATH", help="A data set of its own that evaluates.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for programs.")
def check_dataset(
    paths: tuple[str, ...],
    model: str | None,
    eval_path: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Check the data set at PATH as a job would, without a GPU.

    PATH is a file, a folder or an address, anywhere that you may read. Several are checked as one
    training mixes them, each as often as its WEIGHT says. With --model its rows are tokenised as
    for a training. Exit code: 0 usable, 1 usable with warnings, 2 not usable.
    """
    from trainyard.cli.request_file import with_data  # late: it imports a parser of YAML

    body = with_data(_request(model, options), paths)
    sys.exit(_run(", ".join(paths), {**body, "eval_dataset_path": eval_path}, model, as_json))


def _request(model: str | None, options: dict[str, Any]) -> dict[str, Any]:
    training = {name: options.pop(name) for name in ("method", "max_length")}
    seed = options.pop("seed")
    config = {
        "model": {"name": model or NO_MODEL},
        "training": training,
        "data": {name: None if value in ("", {}) else value for name, value in options.items()},
    }
    if seed is not None:
        config["seed"] = seed
    return {"config": config, "job_token": "none-for-a-check"}


def _run(path: str, body: dict[str, Any], model: str | None, as_json: bool) -> int:
    keep_private()
    # Late: pydantic's models take a while, and every command imports this file.
    from trainyard.contract.parser import parse_request
    from trainyard.contract.request import RequestInvalid

    try:
        request = parse_request(body)
    except RequestInvalid as error:
        return _not_usable(path, str(error), as_json)
    current = settings()
    try:
        make_folder(current.trainyard_home / "cache")
    except SettingsError as error:
        return _not_usable(path, str(error), as_json)
    # As they were typed: a request's have lost the secrets in their URLs.
    typed = zip(request.datasets or (), body.get("datasets", ()), strict=True)
    several = [one.model_copy(update={"path": given["path"]}) for one, given in typed] or None
    config = request.config.model_copy(update={"datasets": several})
    evaluates = request.eval_dataset_path
    spec = _spec(path, evaluates, config, current, with_model=model is not None)
    try:
        code = _check({**spec, "as_json": as_json}).returncode
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if code < 0:
        name = signal.Signals(-code).name
        return _not_usable(path, f"What reads the data set was ended by {name}.", as_json)
    return code


def report_of(
    path: str, eval_path: str, config: JobConfig, current: Settings, *, with_model: bool
) -> Any:
    """The report for programs; ``path``: the name of ``config.datasets``, if there are any;
    ``eval_path``: of a data set that evaluates, or "". Raises TrainyardError if there is none."""
    make_folder(current.trainyard_home / "cache")
    spec = _spec(path, eval_path, config, current, with_model=with_model)
    try:
        return json.loads(_check({**spec, "as_json": True}, stdout=subprocess.PIPE).stdout)
    except ValueError:
        raise TrainyardError(f"What reads the data set {path} ended without a report.") from None


def _spec(
    path: str, eval_path: str, config: JobConfig, current: Settings, *, with_model: bool
) -> dict[str, Any]:
    """A CheckSpec of ``tasks.datasets.check``, as these settings have it."""
    return {
        "path": path,
        "eval_path": eval_path,
        "config": config.model_dump(mode="json"),
        "with_model": with_model,
        "model_roots": [str(root) for root in current.model_roots],
        "cache_dir": str(current.trainyard_home / "cache"),
        "jobs_dir": str(current.trainyard_home / "jobs"),
        "max_download_gb": current.max_download_gb,
        "allow_private_urls": current.allow_private_urls,
    }


def first_question(path: Path, columns: dict[str, str], cache: Path) -> str | None:
    """Of the first row that would be trained on, what is asked in it; None if it asks nothing."""
    body = _request(None, {"method": DEFAULT_METHOD, "max_length": None, "seed": None})
    config = {**body["config"], "data": {"columns": columns or None}}
    spec = {"path": str(path), "config": config, "model_roots": [], "cache_dir": str(cache)}
    said = _check({**spec, "with_model": False, "as_json": True}, stdout=subprocess.PIPE).stdout
    try:
        example = json.loads(said)["example"]
    except ValueError:  # what is wrong with the data set the job itself will say best
        return None
    segments = example["segments"] if example else []
    return question_in([(one["text"], one["trained"]) for one in segments])


def question_in(segments: Sequence[tuple[str, bool]]) -> str | None:
    """The last user's turn before the first text that is trained on, or all that stands there."""
    before = [text for text, _ in itertools.takewhile(lambda one: not one[1], segments)]
    turns = [text for role, text in itertools.pairwise(before) if role == "user: "]
    return turns[-1] if turns else "".join(before).strip() or None


def _check(spec: dict[str, Any], stdout: int | None = None) -> subprocess.CompletedProcess[bytes]:
    """As a job: what reads the data set has the secrets of this environment sealed."""
    secrets = seal(os.environ)
    try:
        return subprocess.run(
            python_module("tasks.datasets.check"),
            input=json.dumps(spec).encode(),
            check=False,
            stdout=stdout,
            env={**without_secrets(os.environ), SECRETS_FD_VARIABLE: str(secrets)},
            pass_fds=(secrets,),
        )
    finally:
        os.close(secrets)


def _not_usable(path: str, reason: str, as_json: bool) -> int:
    if as_json:
        nothing = {"path": path, "usable": False, "rows": 0, "shape": None, "splits": {}}
        click.echo(json.dumps({**nothing, "problems": [], "error": reason}, indent=2))
    else:
        click.echo(f"trainyard: {reason}", err=True)
    return EXIT_NOT_USABLE
