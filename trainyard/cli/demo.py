"""Demo, ``trainyard demo``: one whole job on this machine, from a request to a trained model.

Everything is real: the services, the HTTP calls that the backend makes, the training. By default
on a data set made from Python's standard library and a small model made from it; both are cached.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trainyard.cli.check_dataset import first_question
from trainyard.cli.common import EXIT_INTERRUPTED
from trainyard.cli.progress import ProgressView
from trainyard.cli.tables import coloured_status, number
from trainyard.client import BridgeClient
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.statuses import TERMINAL
from trainyard.home import make_folder
from trainyard.local.backend_row import create_row, stored
from trainyard.local.services import Services
from trainyard.local.throwaway import (
    api_key,
    free_service_ports,
    private_environment,
    run_script,
)
from trainyard.service.stop_signals import interrupt_on_stop_signals
from trainyard.settings import settings

POLL_S = 0.3
DELIVERY_TIMEOUT_S = 60.0
NEW_TOKENS = 60
_ANY_BEGINNING = "Once upon a time"
"""For a data set of which no row asks anything."""


class DemoFailed(TrainyardError):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True)
class Materials:
    """What the demo trains on: a data set, a model (hub name or folder), a prompt."""

    dataset: Path
    model: str
    prompt: str


_NEXT = (
    "Your own: `trainyard up` keeps the services running, and `trainyard submit` starts a job "
    "(docs/quickstart.md, step 3)."
)


@dataclass(frozen=True)
class Wanted:
    """What a person asks of the demo; None: what it chooses itself."""

    model: str | None
    dataset: Path | None
    columns: Mapping[str, str]
    steps: int | None
    prompt: str | None


def run(wanted: Wanted) -> int:
    """Exit code 0 if the job completed, 130 after Ctrl-C. Raises TrainyardError."""
    interrupt_on_stop_signals()
    logging.basicConfig(level=logging.WARNING, format="trainyard: %(message)s")
    console = Console()
    started = time.monotonic()
    try:
        return _run(console, wanted)
    except KeyboardInterrupt:
        console.print("Interrupted; all services are stopped.")
        return EXIT_INTERRUPTED
    finally:
        console.print(f"{time.monotonic() - started:.1f} s in all")


def _run(console: Console, wanted: Wanted) -> int:
    model, dataset = wanted.model, wanted.dataset
    home = settings().trainyard_home / "demo"
    make_folder(home)
    dataset_path = dataset.resolve() if dataset else home / "stdlib_functions.jsonl"
    model_path = model or str(home / "tiny_model")
    if Path(model_path).is_dir():
        model_path = str(Path(model_path).resolve())
    seconds: dict[str, float] = {}
    with Services(
        free_service_ports(), private_environment(home, dataset_path, model_path), wait=False
    ) as services:
        # The services start while the data set and the model are made.
        with console.status("Making the data set and the base model, starting the services ..."):
            started = time.monotonic()
            materials = _make_materials(dataset_path, model_path, wanted)
            seconds["materials"] = time.monotonic() - started
            services.wait()
            seconds["services"] = time.monotonic() - started - seconds["materials"]
        console.print(f"Services are up: {services.bridge_url} (bridge), ", end="")
        console.print(f"{services.backend_url} (backend's page), {services.flower_url} (Flower)")
        job_id = f"demo-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        body = _request(job_id, materials, wanted)
        client = BridgeClient(services.bridge_url, api_key())
        try:
            _end_left_over(client)
            create_row(services.backend_url, body)
            client.start(body)
            job = _follow(console, client, job_id)
            heard = _heard_status(services.backend_url, job_id)
            if job["status"] != "completed":
                raise _failed(job)
            started = time.monotonic()
            with console.status("Asking the base model and the trained one ..."):
                texts = _answers(client, job_id, materials.prompt)
            seconds["generate"] = time.monotonic() - started
        finally:
            client.close()
        trained = home / "jobs" / job_id / job["result"]["model_dir"]
        with console.status("Stopping the services ..."):
            services.stop()
    console.print(summary(job, heard, seconds, materials.prompt, texts))
    console.print(f"The model lies in {trained}", soft_wrap=True, highlight=False)
    console.print(_NEXT, soft_wrap=True, highlight=False)
    return 0 if heard == "completed" else 1


def _failed(job: Mapping[str, Any]) -> DemoFailed:
    """The job's own sentences, with this command's option for the request's field."""
    hint = (job["error_hint"] or "").replace("config.data.columns", "--column ROLE=COLUMN")
    return DemoFailed(f"the job is {job['status']}: {job['error']}", hint)


def _make_materials(dataset: Path, model: str, wanted: Wanted) -> Materials:
    if wanted.dataset is None and not dataset.exists():
        run_script("stdlib_dataset", "--out", str(dataset))
    if Path(model) == dataset.parent / "tiny_model" and not Path(model).exists():
        run_script("tiny_model", "--dataset", str(dataset), "--out", model)
    return Materials(dataset, model, wanted.prompt or _question(dataset, wanted))


def _question(dataset: Path, wanted: Wanted) -> str:
    """The first row's, so that the answers can be held against the data."""
    if wanted.dataset is None:
        with dataset.open(encoding="utf-8") as lines:
            return str(json.loads(lines.readline())["instruction"])
    cache = settings().trainyard_home / "demo" / "cache"
    make_folder(cache)
    return first_question(dataset, dict(wanted.columns), cache) or _ANY_BEGINNING


def _answers(client: BridgeClient, job_id: str, prompt: str) -> list[str]:
    """Of the base model and of the trained one."""
    question = {"prompt": prompt, "max_tokens": NEW_TOKENS}
    return ["".join(client.answer(job_id, {**question, "base": base})) for base in (True, False)]


def _request(job_id: str, materials: Materials, wanted: Wanted) -> dict[str, Any]:
    """The body of ``execute``, as the backend builds it."""
    built_in = wanted.dataset is None and wanted.model is None
    name = "demo_config.json" if built_in else "demo_config_own.json"
    config = json.loads(Path(__file__).with_name(name).read_text())
    config["model"] = {"name": materials.model}
    if wanted.columns:
        config["data"]["columns"] = dict(wanted.columns)
    if wanted.steps is not None:
        config["training"]["max_steps"] = wanted.steps
    return {
        "config": config,
        "dataset_path": str(materials.dataset),
        "execution_id": job_id,
        "name": "demo",
        "user_id": "demo",
        "job_token": secrets.token_urlsafe(32),
    }


def _follow(console: Console, client: BridgeClient, job_id: str) -> dict[str, Any]:
    """Show the job until it has ended; Ctrl-C cancels it."""
    try:
        with ProgressView(console) as view:
            while True:
                job = client.status(job_id)
                view.update(job)
                if job["status"] in TERMINAL:
                    return job
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        console.print("Cancelled; stopping the services ...")
        client.cancel(job_id, force=True)
        raise


def _end_left_over(client: BridgeClient) -> None:
    """Jobs of a demo that was killed must not run before this one."""
    for job in client.jobs():
        if job["status"] not in TERMINAL:
            client.cancel(job["job_id"], force=True)


def _heard_status(backend_url: str, job_id: str) -> str:
    """The status as the backend has it, once it has heard how the job ended."""
    deadline = time.monotonic() + DELIVERY_TIMEOUT_S
    while True:
        status = str(stored(backend_url, job_id)["status"])
        if status in TERMINAL or time.monotonic() > deadline:
            return status
        time.sleep(0.1)


def summary(
    job: Mapping[str, Any],
    heard_status: str,
    seconds: Mapping[str, float],
    prompt: str,
    texts: Sequence[str],
) -> Group:
    """The job at its end; ``texts`` are the base model's and the trained one's."""
    result = job["result"]
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("status at the backend", coloured_status(heard_status))
    table.add_row("eval loss", _fall(result))
    table.add_row("perplexity", number(result.get("perplexity")))
    table.add_row("speed", f"{number(result.get('tokens_per_second'))} tokens per second")
    before = {name: seconds[name] for name in ("materials", "services")}
    phases = {**before, **job["phases"], "generate": seconds["generate"]}
    shown = (f"{name.replace('_', ' ')} {taken:.1f} s" for name, taken in phases.items())
    table.add_row("time by phase", ", ".join(shown))
    base, trained = texts
    return Group(
        table,
        Panel(Text(prompt), title="prompt"),
        Panel(Text(_printable(base)), title="base model"),
        Panel(Text(_printable(trained)), title="trained model"),
    )


def _printable(text: str) -> str:
    """Half a character at the end of what was generated is nothing to look at."""
    return text.replace("\ufffd", "").strip() or "(it answers nothing)"


def _fall(result: Mapping[str, Any]) -> str:
    first, last = result.get("first_eval_loss"), result.get("last_eval_loss")
    if first is None or last is None:
        return f"{number(last)} at the end"
    return f"{first:.3f} at the start, {last:.3f} at the end ({(last - first) / first:+.0%})"
