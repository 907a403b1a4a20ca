"""Events of a training process, and what its supervisor sends it: one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainyard.contract.errors import ErrorReport
from trainyard.contract.names import PREDICTION_CHARACTERS_MAX
from trainyard.contract.usage.used import SlotUsage
from trainyard.contract.verdicts import VERDICTS_MAX, Verdict


class Event(BaseModel):
    """Base of what a training process reports to its supervisor, one JSON object a line."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    event: str


class Phase(Event):
    """A phase of the attempt has ended (``imports``, ``load_model``, ``train``, ...)."""

    event: Literal["phase"] = "phase"
    name: str
    seconds: float


class Progress(Event):
    """Where the training stands; sent at most a few times a second, and during a long eval too.

    ``activity`` tells what the time since the last one went into.
    """

    event: Literal["progress"] = "progress"
    step: int
    total_steps: int
    epoch: float
    total_epochs: float
    remaining_seconds: float | None = None
    activity: Literal["train", "evaluate", "checkpoint", "save_model"] = "train"


class Metric(Event):
    """One metric point, with the field names of ``PUT /metrics``.

    ``step`` counts optimizer steps from 1. A value that is not finite is left out.
    Perplexities are exp(loss). Rates count since the attempt's first step; tokens are real
    ones, without padding. 1 GB is 10^9 bytes. An eval's point carries the newest train and GPU
    values too, when it is stored: a backend may write absent fields as null into the job's row.
    """

    event: Literal["metric"] = "metric"
    step: Annotated[int, Field(ge=1)]
    epoch: float
    train_loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    train_perplexity: float | None = None
    perplexity: float | None = None
    eval_perplexity: float | None = None
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    gpu_memory_allocated_gb: float | None = None
    gpu_memory_reserved_gb: float | None = None
    gpu_utilization_percent: float | None = None

    def to_backend(self) -> dict[str, Any]:
        """Body of ``PUT /metrics``: known values only, ``epoch`` as the int it asks for."""
        point = self.model_dump(exclude={"event"}, exclude_none=True)
        point["epoch"] = int(self.epoch)
        return point


class StartEval(Event):
    """The eval before the first step, which is no point: a backend takes none of step 0."""

    event: Literal["start_eval"] = "start_eval"
    eval_loss: float


class Checkpoint(Event):
    """A checkpoint was written and verified. ``path`` is relative to the job folder."""

    event: Literal["checkpoint"] = "checkpoint"
    path: str
    step: int
    epoch: float
    size_bytes: int
    train_loss: float | None = None
    eval_loss: float | None = None
    is_best: bool = False


_Said = Annotated[str, Field(max_length=PREDICTION_CHARACTERS_MAX)]


class Prediction(Event):
    """What the model says to one of the job's prompts, after ``step``.

    ``cut`` if a text was longer than PREDICTION_CHARACTERS_MAX: its beginning is here.
    ``ground_truth``: the row's own answer; null for a prompt of the request. Nothing is sampled.
    """

    event: Literal["prediction"] = "prediction"
    step: Annotated[int, Field(ge=0)]
    epoch: float = 0.0
    sample_index: Annotated[int, Field(ge=0)] = 0
    prompt: _Said
    prediction: _Said
    ground_truth: _Said | None = None
    cut: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    max_new_tokens: int | None = None
    latency_ms: float | None = None

    def to_backend(self) -> dict[str, Any]:
        """One of ``POST /predictions``: known values only, ``epoch`` as an int."""
        told = self.model_dump(exclude={"event", "cut"}, exclude_none=True)
        told |= {"epoch": int(self.epoch), "do_sample": False}
        if self.prompt_tokens is not None and self.completion_tokens is not None:
            told["total_tokens"] = self.prompt_tokens + self.completion_tokens
        if self.ground_truth is not None and not self.cut:
            said, truth = self.prediction.split(), self.ground_truth.split()
            told["exact_match"] = said == truth
            if truth:
                told["length_ratio"] = len(self.prediction) / len(self.ground_truth)
                told["word_overlap"] = len({*said} & {*truth}) / len({*truth})
        return told


class Held(Event):
    """The training stands still at a step boundary, as asked, and writes nothing."""

    event: Literal["held"] = "held"
    step: int


class Reading(Event):
    """What strangers wrote is being read: the data set ``source``; "" when that is over.

    Sent at once: a crash of native code is then the data set's.
    """

    event: Literal["reading"] = "reading"
    source: str


class Receipt(Event):
    """What a resume went on from, to be compared with what the pause left.

    Hashes are SHA-256 in hex; ``data_position`` counts the micro-batches of the epoch that were
    consumed. ``warm`` if the process was parked meanwhile.
    """

    event: Literal["receipt"] = "receipt"
    when: Literal["paused", "resumed"]
    step: int
    epoch: float
    learning_rate: float
    optimizer_sha256: str
    rng_sha256: str
    data_position: int
    warm: bool = False


class Divergence(Event):
    """A logged number is not finite any more. ``value`` is "nan", "inf" or "-inf"."""

    event: Literal["divergence"] = "divergence"
    step: int
    name: str
    value: Annotated[str, Field(pattern="^(nan|-?inf)$")]


class Warnings(Event):
    """All that is to be said of the training so far; each event replaces the one before."""

    event: Literal["warnings"] = "warnings"
    warnings: Annotated[list[Verdict], Field(max_length=VERDICTS_MAX)]


class Outcome(Event):
    """The attempt's end, the last event of a training process.

    ``result`` (only if completed) holds ``model_dir`` (relative to the job folder) and
    the figures of the summary.
    """

    event: Literal["outcome"] = "outcome"
    outcome: Literal["completed", "paused", "cancelled", "failed"]
    error: ErrorReport | None = None
    result: dict[str, Any] = {}


AnyEvent = Annotated[
    Reading
    | Phase
    | Progress
    | Metric
    | StartEval
    | Checkpoint
    | Prediction
    | Held
    | Receipt
    | Divergence
    | Warnings
    | Outcome,
    Field(discriminator="event"),
]


LaneName = Literal["status", "metric", "log", "prediction"]
"""What the backend hears in order, each lane by itself."""


@dataclass(frozen=True)
class EventKind:
    """A kind of event. ``model``: as a training sends it; None if the supervisor makes it.

    ``stored``: an entry of the job's stream. ``lane``: in which the backend hears of it; None if it
    does not. ``field``: of the job, which holds the latest.
    """

    model: type[Event] | None
    stored: bool = False
    lane: LaneName | None = None
    field: str = ""


EVENT_KINDS: Mapping[str, EventKind] = {
    "status": EventKind(None, stored=True, lane="status"),
    "metric": EventKind(Metric, stored=True, lane="metric"),
    "log": EventKind(None, stored=True, lane="log"),
    "checkpoint": EventKind(Checkpoint, stored=True),
    "prediction": EventKind(Prediction, stored=True, lane="prediction"),
    "phase": EventKind(Phase, stored=True),
    "receipt": EventKind(Receipt, stored=True),
    "divergence": EventKind(Divergence, stored=True, field="divergence"),
    "progress": EventKind(Progress, field="progress"),
    "warnings": EventKind(Warnings, field="warnings"),
    "start_eval": EventKind(StartEval),
    "held": EventKind(Held),
    "reading": EventKind(Reading),
    "outcome": EventKind(Outcome),
}
"""By ``event``, in the order in which those that are reported go first."""


class TrainingSpec(BaseModel):
    """First line that a supervisor sends to its training process. Holds no secret.

    The request itself lies in ``{job_dir}/request.json``. ``resume_from`` names the checkpoint
    to go on from (relative to the job folder); the last good one, or the start, if None. Below
    ``uploads_root`` lie the data sets that ``names.is_upload`` is true of, and no other is read.
    """

    job_id: str
    attempt: int
    slot: str
    job_dir: str
    resume_from: str | None = None
    from_start: bool = False
    cache_dir: str
    dataset_roots: list[str]
    uploads_root: str = ""
    model_roots: list[str]
    allow_remote_code: bool = False
    max_download_gb: float = 50
    allow_private_urls: bool = False
    s3_buckets: list[str] = []
    result_mode: str = "0640"
    gpu_expected: str = ""
    usage: SlotUsage = SlotUsage()


class ProbeSpec(BaseModel):
    """First line to a slot's probe, which tries what every training needs.

    ``home``: TRAINYARD_HOME, to write to. ``gpu_expected``, of a training too: why its slot must
    have a GPU, in words; "" if it may be without.
    """

    home: str
    gpu_expected: str = ""


class Command(BaseModel):
    """What a supervisor asks of its running training, one JSON object a line."""

    command: Literal["cancel", "pause", "hold", "continue"]
