"""Options, arguments and exit codes that commands share, and their way to the bridge."""

from __future__ import annotations

import json
import re
from typing import Any

import click
from click.shell_completion import CompletionItem

from trainyard.client import BridgeClient
from trainyard.contract.error_tree import TrainyardError
from trainyard.settings import settings

EXIT_REFUSED, EXIT_SETTINGS, EXIT_INTERRUPTED = 1, 2, 130
EXIT_CODES = """\b
Exit codes:
  0    done
  1    refused or failed; the sentence on stderr says why
  2    wrong usage or wrong settings
  130  ended by Ctrl-C"""


def client() -> BridgeClient:
    """The bridge of the settings."""
    current = settings()
    key = current.bridge_api_key
    return BridgeClient(current.bridge_url, key.get_secret_value() if key else None)


def _known_jobs(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    try:
        return [j["job_id"] for j in client().jobs() if j["job_id"].startswith(incomplete)]
    except TrainyardError:
        return []  # a shell that completes shows no error


def complete_path(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A file or folder, as the shell itself completes one."""
    return [CompletionItem(incomplete, type="file")]


def _job_id(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    # Late: pydantic's models take a while, and every command imports this file.
    from trainyard.contract.names import JOB_ID_PATTERN, JOB_ID_RULE

    if value is not None and not re.fullmatch(JOB_ID_PATTERN, value):
        raise click.BadParameter(JOB_ID_RULE)
    return value


def _job_ids(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(value for value in values if _job_id(ctx, parameter, value))


def several_jobs(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[str] | None:
    """Of an option that can be repeated: a list for a request, None if it is not given."""
    return list(_job_ids(ctx, parameter, values)) or None


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
job_id_argument = click.argument("job_id", callback=_job_id, shell_complete=_known_jobs)
job_ids_argument = click.argument(
    "job_ids", nargs=-1, required=True, callback=_job_ids, shell_complete=_known_jobs
)
any_job_argument = click.argument(
    "job_id", required=False, callback=_job_id, shell_complete=_known_jobs
)


def echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))
