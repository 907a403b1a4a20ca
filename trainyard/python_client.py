"""Python client: train from a script or a notebook, as ``from trainyard import Client``.

    job = Client().train("tiny_model", "chats.jsonl", lora=True, steps=60).wait()
    job.metrics()          # a pandas DataFrame
    job.download("my-model")

It speaks to the bridge of a yard that is up (``trainyard up``), and makes the development backend's
row itself. Everything that may be wrong raises TrainyardError with what to do.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from trainyard.cli.request_file import data_set, with_flags
from trainyard.client import BridgeClient
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.fields.data_sets import DataSet
from trainyard.contract.fields.suggestions import advice
from trainyard.contract.methods import DEFAULT_METHOD
from trainyard.contract.statuses import TERMINAL
from trainyard.local.submission import prepare, start
from trainyard.settings import read_settings

if TYPE_CHECKING:
    import pandas

__all__ = ["Client", "JobFailed", "TrainingJob", "TrainyardError"]

POLL_S = 0.5


class JobFailed(TrainyardError):
    """A job that was waited for did not complete."""


class Client:
    """A yard: by default the one of the settings of this process.

    ``url`` and ``api_key`` name another bridge; the backend then makes the jobs' rows and tokens.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self._settings = read_settings()
        key = self._settings.bridge_api_key
        given = api_key or (key.get_secret_value() if key else None)
        self.bridge = BridgeClient(url or self._settings.bridge_url, given)

    def train(
        self,
        model: str | Path,
        dataset: str | Path | Sequence[str | Path | Mapping[str, Any]] | pandas.DataFrame,
        *,
        eval_dataset: str | Path | None = None,
        method: str = DEFAULT_METHOD,
        lora: bool = False,
        name: str | None = None,
        epochs: float | None = None,
        steps: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        job_id: str | None = None,
        token: str | None = None,
        config: Mapping[str, Any] | None = None,
        **unknown: Never,
    ) -> TrainingJob:
        """Start a job.

        ``dataset``: a path, what else the worker reaches, or rows, which travel in the request
        (MAX_REQUEST_MB); a list of paths (``"chats.jsonl:2"``: with a weight) or of
        ``{"path": ..., "samples": ...}`` is mixed. ``eval_dataset``: a path of one that evaluates.
        ``config``: everything else, as in ``config`` of a request. Raises TrainyardError; a request
        that is refused leaves nothing behind. TypeError for an argument that is none says where it
        belongs.
        """
        if unknown:
            known = [name for name in signature(self.train).parameters if name != "unknown"]
            named = ", ".join(name + advice((name,), known) for name in unknown)
            raise TypeError(
                f"train() has no argument {named}: the settings of a request go into config, as "
                'config={"lora": {"r": 16}}'
            )
        flags = {
            "config.model.name": str(model),
            "eval_dataset_path": None if eval_dataset is None else str(eval_dataset),
            "config.training.method": method,
            "config.training.use_lora": lora or None,
            "config.training.num_epochs": epochs,
            "config.training.max_steps": steps,
            "config.training.learning_rate": learning_rate,
            "config.training.batch_size": batch_size,
            "name": name,
            "execution_id": job_id,
            "job_token": token,
        }
        body = with_flags({"config": dict(config or {}), **_data(dataset)}, flags, ())
        answer = start(self.bridge, self._settings, prepare(body, self._settings)).answer
        return TrainingJob(self.bridge, answer["job_id"])

    def job(self, job_id: str) -> TrainingJob:
        """A job that is there. Raises BridgeError."""
        self.bridge.status(job_id)
        return TrainingJob(self.bridge, job_id)

    def jobs(self) -> list[TrainingJob]:
        """All jobs, newest first."""
        return [TrainingJob(self.bridge, job["job_id"]) for job in self.bridge.jobs()]


class TrainingJob:
    """One job of a yard."""

    def __init__(self, bridge: BridgeClient, job_id: str) -> None:
        self.bridge = bridge
        self.id = job_id

    def __repr__(self) -> str:
        return f"TrainingJob({self.id!r})"

    @property
    def details(self) -> dict[str, Any]:
        """Everything that the bridge knows of it."""
        return self.bridge.status(self.id)

    @property
    def status(self) -> str:
        """``queued``, ``running``, ``pausing``, ``paused``, ``completed`` and so on."""
        return str(self.details["status"])

    def wait(self, timeout_s: float | None = None) -> TrainingJob:
        """Wait until it has ended, with a bar of its progress.

        Raises JobFailed unless it completed, TimeoutError after ``timeout_s``. Ctrl-C ends the
        waiting, and not the job.
        """
        from rich.console import Console  # noqa: PLC0415  (a script may do without)

        from trainyard.cli.progress import ProgressView  # noqa: PLC0415

        ends = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            with ProgressView(Console()) as view:
                while (job := self.details)["status"] not in TERMINAL:
                    view.update(job)
                    if ends is not None and time.monotonic() > ends:
                        raise TimeoutError(f"{self.id} is {job['status']} after {timeout_s:g} s")
                    time.sleep(POLL_S)
                view.update(job)
        except KeyboardInterrupt:
            print(f"The job goes on. Back to it: Client().job({self.id!r}).wait()", file=sys.stderr)
            raise
        if job["status"] != "completed":
            why = f": {job['error']}" if job["error"] else ""
            raise JobFailed(f"{self.id} is {job['status']}{why}", job["error_hint"] or "")
        return self

    def metrics(self) -> pandas.DataFrame:
        """Its metric points, a row each; step 0 is the eval before the first."""
        import pandas  # noqa: PLC0415  (seconds, for those who ask)

        return pandas.DataFrame(self.bridge.points(self.id))

    def logs(self, lines: int = 100) -> list[str]:
        """The last lines of its log."""
        found: list[str] = self.bridge.logs(self.id, limit=lines, offset=-lines)["logs"]
        return found

    def pause(self) -> None:
        """Ask it to pause; :attr:`status` says when it has."""
        self.bridge.pause(self.id)

    def resume(self, checkpoint: str | None = None) -> None:
        """Queue it again, from ``checkpoint`` or its latest."""
        self.bridge.resume(self.id, checkpoint)

    def cancel(self, *, force: bool = False) -> None:
        """Cancel it; ``force`` kills its processes at once."""
        self.bridge.cancel(self.id, force=force)

    def generate(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        *,
        base: bool = False,
        checkpoint: str = "",
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        on_text: Callable[[str], object] | None = None,
    ) -> str:
        """The model's answer to ``prompt``: one question, or the messages of a conversation.

        ``base``: of the model before the training; ``checkpoint``: of that one. ``on_text`` is
        given each piece as it comes. It waits while all slots train. Raises GenerationFailed,
        BridgeError.
        """
        question = {"prompt": prompt} if isinstance(prompt, str) else {"messages": list(prompt)}
        how = {
            "base": base,
            "checkpoint": checkpoint,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        said = ""
        for piece in self.bridge.answer(self.id, {**question, **how}):
            said += piece
            if on_text is not None:
                on_text(piece)
        return said

    def download(self, to: str | Path) -> Path:
        """Write what was trained into the new folder ``to``, a merged copy into its ``merged``.

        Raises BridgeError, and FileExistsError if something of that name is there.
        """
        folder = Path(to)
        if folder.exists():
            raise FileExistsError(f"{folder} is there already")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as partial:
            with (
                self.bridge.download_model(self.id) as answer,
                tarfile.open(fileobj=answer.raw, mode="r|") as archive,
            ):
                for member in archive:
                    archive.extract(member, partial, filter="data")
            [top] = Path(partial).iterdir()  # the archive's one folder
            top.rename(folder)
        return folder


def _data(dataset: Any) -> dict[str, Any]:
    """``dataset_path``, ``datasets``, or ``dataset_content`` as JSON lines.

    Raises TrainyardError.
    """
    if isinstance(dataset, str | Path):
        return {"dataset_path": str(dataset)}
    if len(dataset) == 0:
        raise TrainyardError("the data set has no rows")
    if hasattr(dataset, "to_json"):
        return {"dataset_content": dataset.to_json(orient="records", lines=True, force_ascii=False)}
    rows = list(dataset)
    if all(_is_data_set(one) for one in rows):
        named = (one if isinstance(one, Mapping) else data_set(str(one)) for one in rows)
        return {"datasets": [{**one, "path": str(one["path"])} for one in named]}
    return {"dataset_content": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)}


def _is_data_set(one: Any) -> bool:
    """Whether it names a data set, and is no row of one."""
    if not isinstance(one, Mapping):
        return isinstance(one, str | Path)
    return "path" in one and set(one) <= set(DataSet.model_fields)
