"""Model card of a result: what was trained, on what, how, and what came of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.datasets.mix.report import MixReport
from tasks.datasets.training_data import TrainingData
from tasks.preparation import Prepared
from tasks.results.dtype import dtype_of_files
from tasks.results.lineage import lineage
from tasks.results.loading import how_to_ask, how_to_load, how_to_load_whole
from trainyard.contract.config import JobConfig, LoraConfig
from trainyard.contract.request import TrainingRequest
from trainyard.contract.units import MB
from trainyard.contract.verdicts import Verdict
from trainyard.durable_files import size_of

_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
_CURVE_ROWS = 20
_FIGURES = {
    "steps": "steps",
    "epochs": "epochs",
    "saved_step": "step of the saved model",
    "train_loss": "training loss then",
    "first_eval_loss": "eval loss before the first step",
    "last_eval_loss": "eval loss at the end, of the saved model",
    "perplexity": "perplexity",
    "total_tokens": "tokens trained on",
    "tokens_per_second": "tokens per second",
    "train_runtime": "seconds of training",
    "dtype": "dtype of the weights",
}
_HOW_TO_LOAD = re.compile(r"^## How to load it\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r"^# .*$", re.MULTILINE)
_DTYPE = re.compile(r"^\| dtype of the weights \|.*$", re.MULTILINE)


def model_card(
    request: TrainingRequest,
    prepared: Prepared,
    figures: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    used: Mapping[str, float],
    verdicts: Sequence[Verdict] = (),
    *,
    jobs: Path,
) -> str:
    """The card as Markdown with the hub's front matter.

    ``figures``: the summary's; ``history``: what the Trainer logged; ``used``: by the job so far;
    ``verdicts``: what is to be known of the training; ``jobs``: the folder of this host's jobs.
    """
    config, data = request.config, prepared.data
    name = request.name or request.execution_id
    adapter = config.lora if config.training.use_lora else None
    base, scores = prepared.folders.base, config.training.how.scores_texts
    first, came = lineage(config.model, base, jobs)
    parts = [
        "\n".join(_front_matter(config, first, bool(adapter))),
        f"# {name}",
        f"`{config.model.name}`, trained with the method `{config.training.method}`"
        + (_as_adapter(adapter) if adapter else "."),
        *([came] if came else []),
        *(["## Warnings", "\n".join(f"- {_said(v)}" for v in verdicts)] if verdicts else []),
        "## Data",
        _table(
            {
                **_data_sets(request, data),
                "training rows": len(data.train.dataset),
                "eval rows": len(data.eval.dataset) if data.eval else 0,
                "tokens": data.train.tokens,
                "SHA-256 of a sample of the tokenised rows": data.train.sample_sha256(),
            }
        ),
        "## Result",
        _table(_told(figures) | dict(used)),
        "### Curve",
        _curve(history),
        "## How to load it",
        *how_to_load(config, base, prepared.folders.model, figures["dtype"]),
        *(
            []
            if scores
            else ["## How to ask it", how_to_ask(chats=bool(data.report.chat_template))]
        ),
        "## Settings",
        f"```json\n{json.dumps(_plain(prepared.arguments.values), indent=1, sort_keys=True)}\n```",
        "## Libraries",
        _table({library: version(library) for library in _LIBRARIES}),
    ]
    return "\n\n".join(parts) + "\n"


def whole_card(card: str, folder: Path, *, scores: bool = False) -> str:
    """``card``, which is an adapter's, as that of the merged model in ``folder``.

    ``scores``: whether the model gives a text a number.
    """
    dtype = dtype_of_files(folder) or "auto"
    said = (
        f"This is the whole model, {size_of(folder) / MB:,.1f} MB: the adapter is merged with its "
        "base model. It loads without PEFT and without the base model."
    )
    load = "## How to load it\n\n" + "\n\n".join(how_to_load_whole(dtype, scores=scores)) + "\n\n"
    front = "library_name: transformers\nbase_model_relation: finetune\n"
    card = card.replace("library_name: peft\n", front, 1)
    card = _TITLE.sub(lambda title: f"{title[0]}\n\n{said}", card, count=1)
    card = _DTYPE.sub(f"| dtype of the weights | {dtype} |", card, count=1)
    return _HOW_TO_LOAD.sub(lambda _: load, card, count=1)


def _told(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {said: figures[key] for key, said in _FIGURES.items() if key in figures}


def _data_sets(request: TrainingRequest, data: TrainingData) -> dict[str, str]:
    """Where the rows came from and what they are; of several sets how many rows of each count."""
    if isinstance(data.report, MixReport):
        named = {f"data set {own.number}": own.summary for own in data.report.sets}
        shape = f"{data.report.shape}, mixed by the seed {data.report.seed}"
    else:
        named = {"data set": request.dataset_path or "sent with the request"}
        shape = data.shape.describe()
    if request.eval_dataset_path:
        named["eval data set"] = request.eval_dataset_path
    return {**named, "rows are": shape}


def _as_adapter(lora: LoraConfig) -> str:
    """One that is trained on has a shape of its own, which its files say."""
    if lora.adapter == "continue":
        return ": its LoRA adapter was trained on."
    return f" as a LoRA adapter (r {lora.r}, alpha {lora.alpha:g})."


def _front_matter(config: JobConfig, first: str, adapter: bool) -> Iterator[str]:
    task = "text-classification" if config.training.how.scores_texts else "text-generation"
    yield "---"
    yield f"base_model: {json.dumps(first)}"
    yield f"library_name: {'peft' if adapter else 'transformers'}"
    yield f"pipeline_tag: {task}"
    yield "tags: [trainyard]"
    yield "---"


def _table(rows: Mapping[str, Any]) -> str:
    return "| | |\n|---|---|\n" + "\n".join(f"| {k} | {_cell(v)} |" for k, v in rows.items())


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _said(verdict: Verdict) -> str:
    return " ".join(verdict.sentence.split())


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    kept = (bool, int, float, str)
    return {
        name: value
        for name, value in arguments.items()
        if isinstance(value, kept) and name not in ("output_dir",)
    }


def _curve(history: Sequence[Mapping[str, Any]]) -> str:
    points: dict[int, dict[str, Any]] = {}
    for entry in history:
        kept = {name: entry[name] for name in ("loss", "eval_loss") if name in entry}
        if kept:
            points.setdefault(entry["step"], {}).update(kept)
    steps = sorted(points)
    thinned = steps[:: max(1, -(-len(steps) // _CURVE_ROWS))]
    shown = sorted({*thinned, *steps[-1:]})
    rows = [
        f"| {step} | {_cell(points[step].get('loss', ''))} "
        f"| {_cell(points[step].get('eval_loss', ''))} |"
        for step in shown
    ]
    return "\n".join(["| step | loss | eval loss |", "|---|---|---|", *rows])
