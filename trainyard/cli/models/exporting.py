"""Results as others take them: ``trainyard merge``, ``trainyard export`` and ``trainyard push``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import click

from trainyard.child_process import python_module
from trainyard.cli.common import as_json_option, client, echo_json, job_id_argument
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.events import TrainingSpec
from trainyard.contract.generation.messages import AskedOfJob, GenerateBody, GenerationSpec
from trainyard.contract.job_folder import MERGED, MODEL
from trainyard.contract.units import MB
from trainyard.durable_files import size_of
from trainyard.secret_environment import without_secrets
from trainyard.settings import Settings, settings

_NO_GGUF = (
    "No GGUF is made: no package on PyPI converts one. `ollama create` and llama.cpp's "
    "convert_hf_to_gguf.py read this folder."
)


@click.command(short_help="Merge an adapter with its base model.")
@job_id_argument
@as_json_option
def merge(job_id: str, as_json: bool) -> None:
    """Write a copy of a job's result that needs no PEFT, beside the adapter, in model/merged.

    It is refused if it does not answer as the adapter does.
    """
    model = model_folder(job_id)
    if not (model / "adapter_config.json").is_file():
        raise TrainyardError(f"The result of {job_id} is no adapter: it is whole as it is.")
    if (model / MERGED).exists():
        raise TrainyardError(
            f"{job_id} is merged already: {model / MERGED}.",
            "Remove that folder to merge it anew.",
        )
    _write(job_id, model / MERGED)
    _told(model / MERGED, as_json)


@click.command(short_help="Copy a result to a folder that loads by itself.")
@job_id_argument
@click.option("--to", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--ollama", is_flag=True, help="With a Modelfile: chat template and stop tokens.")
@click.option("--system", help="The system text of the Modelfile.")
@as_json_option
def export(job_id: str, to: Path, ollama: bool, system: str | None, as_json: bool) -> None:
    """Copy a job's result to a new folder; an adapter is merged with its base model.

    \b
    trainyard export job-1 --to my-model --ollama
    ollama create my-model -f my-model/Modelfile
    """
    if system is not None and not ollama:
        raise click.UsageError("--system is the Modelfile's: give --ollama too")
    if system is not None and '"""' in system:
        raise click.BadParameter(
            'it holds """, which ends a text of a Modelfile', param_hint="--system"
        )
    model_folder(job_id)
    to = _new(to.absolute())
    _write(job_id, to, *(["--ollama"] if ollama else []))
    if system is not None:
        with (to / "Modelfile").open("a", encoding="utf-8") as file:
            file.write(f'SYSTEM """{system}"""\n')
    _told(to, as_json)
    if ollama:
        click.echo(_NO_GGUF, err=True)


@click.command(short_help="Send a result to the Hugging Face hub.")
@job_id_argument
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--public", is_flag=True, help="Everybody may read it; else it is private.")
@click.option("--yes", is_flag=True, help="Send it; without this it is only said what would go.")
@as_json_option
def push(job_id: str, repository: str, public: bool, yes: bool, as_json: bool) -> None:
    """Say what of a job's result would go to the hub; with --yes, send it.

    The token is HF_TOKEN of the environment, and no other.
    """
    folder = model_folder(job_id)
    found = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {str(p): (folder / p).stat().st_size for p in found if MERGED not in p.parts}
    if as_json:
        echo_json({"repository": repository, "public": public, "sent": yes, "files": files})
    else:
        _say_what_goes(folder, files, repository, public)
    if not yes:
        click.echo("Nothing was sent: --yes sends it.", err=True)
        return
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise TrainyardError("HF_TOKEN is not set.", "Set it to a token that may write there.")
    _send(folder, list(files), repository, public, token)
    click.echo(f"sent to https://huggingface.co/{repository}", err=as_json)


def _say_what_goes(folder: Path, files: dict[str, int], repository: str, public: bool) -> None:
    whose = "public: everybody can read it" if public else "private"
    click.echo(f"{repository} ({whose}) gets, from {folder}:")
    for name, size in files.items():
        click.echo(f"  {size / MB:9,.2f} MB  {name}")
    current = settings()
    places = [current.trainyard_home, *current.model_roots, *current.dataset_roots, Path.home()]
    for name in ("README.md", "adapter_config.json", "config.json"):
        text = (folder / name).read_text(encoding="utf-8") if name in files else ""
        if found := next((p for p in map(str, places) if len(p) > 1 and p in text), None):
            click.echo(f"note: {name} names {found}, a path of this machine", err=True)
    if "README.md" in files:
        click.echo("README.md names the data set, and has the settings and the curve: read it.")


def _send(folder: Path, files: list[str], repository: str, public: bool, token: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi(token=token)
    try:
        hub.create_repo(repository, private=not public, exist_ok=True)
        hub.upload_folder(
            folder_path=folder,
            repo_id=repository,
            allow_patterns=files,
            commit_message="A result of Trainyard",
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrainyardError(
            f"The hub did not take it: {said.replace(token, '[redacted]')}"
        ) from None


def model_folder(job_id: str) -> Path:
    """Where the result lies on this machine. Raises TrainyardError."""
    job = client().status(job_id)
    if not job["result"]:
        raise TrainyardError(f"{job_id} has no trained model: it is {job['status']}.")
    folder = settings().job_dir(job_id) / MODEL
    if not folder.is_dir():
        raise TrainyardError(
            f"The result of {job_id} is not below TRAINYARD_HOME, which is "
            f"{settings().trainyard_home.absolute()} here.",
            "Run this in the folder of its yard, or set TRAINYARD_HOME to that yard's; what was "
            "trained on another host lies there.",
        )
    return folder.absolute()


def _new(folder: Path) -> Path:
    if folder.exists():
        raise TrainyardError(f"{folder} is there already.", "Name another one, or remove it.")
    return folder


def _write(job_id: str, to: Path, *options: str) -> None:
    """In a process of its own: torch takes seconds and memory. Without secrets and GPU."""
    done = subprocess.run(
        python_module("tasks.exports.write", str(to), *options),
        input=_spec(job_id, settings()).model_dump_json(),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**without_secrets(os.environ), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode != 0:
        raise TrainyardError((done.stderr.strip().splitlines() or ["It could not be written."])[-1])


def _spec(job_id: str, current: Settings) -> GenerationSpec:
    job = TrainingSpec(
        job_id=job_id,
        attempt=1,
        slot="",
        job_dir=str(current.job_dir(job_id).absolute()),
        cache_dir=str(current.trainyard_home / "cache"),
        dataset_roots=[],
        model_roots=[str(root) for root in current.model_roots],
    )
    asked = AskedOfJob(job_id=job_id, attempt=1, question=GenerateBody(prompt="-"))
    return GenerationSpec(asked=asked, job=job)


def _told(folder: Path, as_json: bool) -> None:
    size: dict[str, Any] = {"folder": str(folder), "size_bytes": size_of(folder)}
    if as_json:
        echo_json(size)
    else:
        click.echo(f"{folder} ({size['size_bytes'] / MB:,.1f} MB)")
