"""Every wire model, status and name that crosses a process boundary.

Three boundaries meet here: the backend's HTTP requests and ours to it, the job store's
event stream, and the socket between a supervisor and its training process. Imports pydantic
alone, so that every side can import it.

Exceptions:

    ContractError (ValueError)
     └ RequestInvalid       a request with one or more wrong fields, all named at once
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

JOB_ID_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"
JOB_ID_RULE = "a job id has 1 to 128 letters, digits, '.', '_' or '-' and starts with no dot"
LOG_LINES_PER_BATCH = 100
"""Lines in one log entry of the event stream, and so in one POST to the backend."""

PREDICTION_CHARACTERS_MAX = 2000
"""Of a prompt, and of what the model says to it, no more goes into the event stream."""

PRIORITY_DEFAULT, PRIORITY_LAST = 5, 9
"""Priorities of a request: 0 runs first."""

TASK_TRAIN = "tasks.train"
QUEUE_GPU = "gpu"
TASK_SUBMIT = "tasks.submit"
QUEUE_REQUESTS = "requests"
"""Where a Celery client asks for something; see ``celery_requests``."""


class ContractError(ValueError):
    """Base of the errors that the contract raises."""


class JobStatus(StrEnum):
    """State of a job in the job store."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"


TERMINAL = frozenset({JobStatus.CANCELLED, JobStatus.COMPLETED, JobStatus.FAILED})
"""States that a job does not leave by itself."""

OCCUPYING = frozenset({JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING})
"""States in which a job may hold a slot."""

BackendStatus = Literal["running", "completed", "failed", "cancelled", "paused"]
"""What the backend takes in ``PATCH /status``; it knows no ``queued``."""


class ErrorKind(StrEnum):
    """Why a job failed, for programs; the sentence for people stands beside it."""

    OUT_OF_MEMORY = "out_of_memory"
    DATASET = "dataset"
    CONFIGURATION = "configuration"
    MODEL_NOT_FOUND = "model_not_found"
    GATED_MODEL = "gated_model"
    MODEL = "model"
    DISK_FULL = "disk_full"
    WORKER_LOST = "worker_lost"
    HANG = "hang"
    DIVERGED = "diverged"
    INTERNAL = "internal"


ERROR_HINTS = {
    ErrorKind.OUT_OF_MEMORY: "Lower training.batch_size (and raise gradient_accumulation_steps by "
    "the same factor), lower training.max_length, switch gradient_checkpointing on, or train with "
    "LoRA.",
    ErrorKind.DATASET: "Check the file's rows and columns: trainyard check-dataset names them.",
    ErrorKind.CONFIGURATION: "Change what the sentence names in the request, and send it again.",
    ErrorKind.MODEL_NOT_FOUND: "Check config.model.name and config.model.revision; a folder must "
    "lie under MODEL_ROOTS.",
    ErrorKind.GATED_MODEL: "Accept the model's licence at the hub and set HF_TOKEN where the "
    "worker is started.",
    ErrorKind.MODEL: "Copy or download the model's files again, or put its folder under "
    "MODEL_ROOTS.",
    ErrorKind.DISK_FULL: "Free space under TRAINYARD_HOME, or lower training.save_total_limit; "
    "earlier checkpoints are intact.",
    ErrorKind.WORKER_LOST: "Look at the end of the job's log, and at the worker's memory. "
    "MAX_RESTARTS sets how often a lost job is started again.",
    ErrorKind.HANG: "The job's log shows where its threads stood. HANG_SECONDS sets how long a "
    "step may take.",
    ErrorKind.DIVERGED: "Lower training.learning_rate, raise warmup_steps, or set max_grad_norm to "
    "1; earlier checkpoints are intact.",
    ErrorKind.INTERNAL: "The job's log holds the full traceback.",
}
"""What to do about an error of a kind, where the error itself knows nothing better."""


def attempt_id(job_id: str, attempt: int) -> str:
    """Name of one run of a job; also its Celery task id."""
    return f"{job_id}:{attempt}"


def parse_attempt_id(value: str) -> tuple[str, int]:
    """Split ``{job_id}:{attempt}``; raises ContractError where it is not one."""
    job_id, _, number = value.rpartition(":")
    if not re.fullmatch(JOB_ID_PATTERN, job_id) or not re.fullmatch("[1-9][0-9]{0,8}", number):
        raise ContractError(f"not an attempt id: {value[:200]!r}")
    return job_id, int(number)


# ---------------------------------------------------------------- events, training → everyone


class Event(BaseModel):
    """Base of what a training process reports to its supervisor, one JSON object a line."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


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
    ones, without padding.
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


class Prediction(Event):
    """What the model says to one of the job's prompts, at the eval of ``step``.

    ``cut`` where a text was longer than PREDICTION_CHARACTERS_MAX: its beginning is here.
    """

    event: Literal["prediction"] = "prediction"
    step: Annotated[int, Field(ge=0)]
    prompt: Annotated[str, Field(max_length=PREDICTION_CHARACTERS_MAX)]
    prediction: Annotated[str, Field(max_length=PREDICTION_CHARACTERS_MAX)]
    cut: bool = False


class Held(Event):
    """The training stands still at a step boundary, as asked, and writes nothing."""

    event: Literal["held"] = "held"
    step: int


class Receipt(Event):
    """What a resume went on from, to be compared with what the pause left.

    Hashes are SHA-256 in hex; ``data_position`` counts the micro-batches of the epoch that were
    consumed. ``warm`` where the process was parked meanwhile.
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


class Frame(BaseModel):
    """One frame of a traceback."""

    file: str
    line: int
    function: str
    code: str = ""


class ErrorReport(BaseModel):
    """A failure as a person can act on it: a kind, one sentence, a hint, the frames."""

    kind: ErrorKind
    message: str
    hint: str = ""
    exception: str = ""
    frames: list[Frame] = []


class AttemptError(ErrorReport):
    """The error that ended one attempt; ``at`` is a UNIX time."""

    attempt: int
    at: float


class Outcome(Event):
    """The attempt's end, the last event of a training process.

    ``result`` (only where completed) holds ``model_dir`` (relative to the job folder) and
    the figures of the summary.
    """

    event: Literal["outcome"] = "outcome"
    outcome: Literal["completed", "paused", "cancelled", "failed"]
    error: ErrorReport | None = None
    result: dict[str, Any] = {}


AnyEvent = Annotated[
    Phase | Progress | Metric | Checkpoint | Prediction | Held | Receipt | Divergence | Outcome,
    Field(discriminator="event"),
]


class TrainingSpec(BaseModel):
    """First line that a supervisor sends to its training process. Holds no secret.

    The request itself lies in ``{job_dir}/request.json``. ``resume_from`` names the checkpoint
    to go on from (relative to the job folder); the last good one, or the start, where None.
    """

    job_id: str
    attempt: int
    slot: str
    job_dir: str
    resume_from: str | None = None
    from_start: bool = False
    cache_dir: str
    dataset_roots: list[str]
    model_roots: list[str]
    allow_remote_code: bool = False
    max_download_gb: float = 50
    allow_private_urls: bool = False


class Command(BaseModel):
    """What a supervisor asks of its running training, one JSON object a line."""

    command: Literal["cancel", "pause", "hold", "continue"]


# ---------------------------------------------------------------- the request


class FieldProblem(BaseModel):
    """One wrong field: its path as the caller spelled it, and what is wrong with it."""

    path: str
    message: str


class RequestInvalid(ContractError):
    """A request was refused; ``problems`` names every wrong field."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{p.path}: {p.message}" for p in problems))


def _refuse_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


_NOT_BOOL = BeforeValidator(_refuse_bool)
"""Stands last: what stands after it would be missing in the JSON schema."""
Count = Annotated[int, Field(ge=1, le=1_000_000_000), _NOT_BOOL]
BatchSize = Annotated[int, Field(ge=1, le=65_536), _NOT_BOOL]
NonNegativeInt = Annotated[int, Field(ge=0), _NOT_BOOL]
NonNegativeFloat = Annotated[float, Field(ge=0), _NOT_BOOL]
Fraction = Annotated[float, Field(ge=0, le=1), _NOT_BOOL]
Strategy = Literal["no", "steps", "epoch"]


class Section(BaseModel):
    """Base of the parts of a request: fields that are not known are kept as extras."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, protected_namespaces=())


class ModelConfig(Section):
    """``config.model``."""

    name: Annotated[str, Field(min_length=1)]
    trust_remote_code: bool = False
    torch_dtype: str | None = None
    device_map: Any = None
    attn_implementation: str | None = None
    revision: str | None = None


class TokenizerConfig(Section):
    """``config.tokenizer``; the model's own where ``name`` is absent."""

    name: str | None = None
    trust_remote_code: bool = False
    padding_side: Literal["left", "right"] | None = None
    add_eos_token: bool | None = None


class LoraConfig(Section):
    """``config.lora``; the user interface's ``training.lora_*`` ends here too."""

    r: Count = 16
    alpha: Annotated[float, Field(gt=0), _NOT_BOOL] = 32
    dropout: Fraction = 0.05
    target_modules: list[str] | str | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    task_type: str = "CAUSAL_LM"


class DistributedConfig(Section):
    """``config.training.distributed``: one training in several processes of one slot.

    Each process has its own GPU (on a machine without one: a share of the cores) and takes its own
    micro-batch: the effective batch is ``batch_size * gradient_accumulation_steps * processes``.
    With ``ddp`` each holds the whole model; with ``fsdp`` a share of it, its gradients and the
    optimizer's state.
    """

    processes: Annotated[int, Field(ge=1, le=64), _NOT_BOOL] = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"

    @field_validator("strategy")
    @classmethod
    def _something_to_share(cls, value: str, info: ValidationInfo) -> str:
        if value == "fsdp" and info.data.get("processes") == 1:
            raise ValueError("fsdp shares a model between processes: send 'processes' of 2 or more")
        return value


Reward = Literal["answer", "format", "brevity"]


class RlhfConfig(Section):
    """``config.training.rlhf``: what the method ``rlhf`` learns from.

    Answers are sampled from the model and scored: by a reward model (one that gives a text one
    number), by built-in functions, or by both, which are added up.
    """

    algorithm: Literal["rloo", "grpo"] = "rloo"
    reward_model: Annotated[str, Field(min_length=1)] | None = None
    reward_functions: list[Reward] = []
    num_generations: Annotated[int, Field(ge=2, le=1024), _NOT_BOOL] = 4
    max_completion_length: Annotated[int, Field(ge=1), _NOT_BOOL] = 256
    temperature: Annotated[float, Field(gt=0, le=10), _NOT_BOOL] = 1.0

    @field_validator("algorithm", mode="before")
    @classmethod
    def _no_ppo(cls, value: Any) -> Any:
        if value == "ppo":
            raise ValueError("the installed TRL has no PPO any more: send 'rloo' or 'grpo'")
        return value


class TrainingConfig(Section):
    """``config.training`` in the normalised spelling."""

    method: Literal["sft", "dpo", "orpo", "cpt", "rlhf"] = "sft"
    num_epochs: Annotated[float, Field(gt=0, le=10_000), _NOT_BOOL] = 3
    max_steps: Count | None = None
    learning_rate: Annotated[float, Field(gt=0), _NOT_BOOL] = 2e-5
    batch_size: BatchSize = 4
    eval_batch_size: BatchSize | None = None
    gradient_accumulation_steps: BatchSize = 1
    warmup_steps: NonNegativeInt = 0
    warmup_ratio: Fraction = 0.0
    lr_scheduler_type: str = "linear"
    optim: str | None = None
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: NonNegativeFloat = 1.0
    bf16: bool | None = None
    fp16: bool | None = None
    gradient_checkpointing: bool | None = None
    torch_compile: bool = False
    max_length: Annotated[int, Field(ge=8), _NOT_BOOL] | None = None
    max_prompt_length: Count | None = None
    packing: bool | None = None
    completion_only_loss: bool | None = None
    group_by_length: bool = False
    beta: Annotated[float, Field(gt=0), _NOT_BOOL] | None = None
    use_lora: bool = False
    quantization: dict[str, Any] | None = None
    logging_steps: Count = 10
    eval_strategy: Strategy | None = None
    eval_steps: Count | None = None
    save_strategy: Strategy | None = None
    save_steps: Count | None = None
    save_total_limit: Count | None = None
    metric_for_best_model: str | None = None
    dataloader_num_workers: NonNegativeInt | None = None
    dataloader_prefetch_factor: Count | None = None
    dataloader_pin_memory: bool | None = None
    pretokenize: bool | None = None
    stop_on_nan: bool = True
    distributed: DistributedConfig | None = None
    rlhf: RlhfConfig | None = None
    retry_out_of_memory: bool = True
    early_stopping_patience: Count | None = None
    epochs_without_improvement: Count | None = None
    load_best_model_at_end: bool = False
    merge_adapter: bool = False
    report_to: list[str] | str | None = None

    @property
    def answer_length(self) -> int:
        """Tokens that an answer of the method rlhf may have."""
        return (self.rlhf or RlhfConfig()).max_completion_length

    @property
    def processes(self) -> int:
        """Processes that train together."""
        return self.distributed.processes if self.distributed else 1

    @property
    def sharded(self) -> bool:
        """Whether each process holds a share of the model (FSDP)."""
        return self.distributed is not None and self.distributed.strategy == "fsdp"

    @field_validator("distributed")
    @classmethod
    def _what_can_be_sharded(
        cls, value: DistributedConfig | None, info: ValidationInfo
    ) -> DistributedConfig | None:
        if value is None or value.strategy != "fsdp":
            return value
        if info.data.get("method") == "rlhf":
            raise ValueError("rlhf samples answers, which fsdp does not: send strategy 'ddp'")
        if any((info.data.get("quantization") or {}).values()):
            raise ValueError("fsdp shares no quantised model: send strategy 'ddp'")
        return value

    @field_validator("eval_strategy", "save_strategy", mode="before")
    @classmethod
    def _yaml_no(cls, value: Any) -> Any:
        return "no" if value is False else value


class DataConfig(Section):
    """``config.data``."""

    strategy: str | None = None
    generation_type: str | None = None
    dataset_format: str | None = None
    text_field: str | None = None
    columns: dict[str, str] | None = None
    max_samples: Count | None = None
    train_split: Annotated[float, Field(gt=0, le=1), _NOT_BOOL] | None = None
    eval_split: Annotated[float, Field(ge=0, lt=1), _NOT_BOOL] | None = None
    skip_bad_rows: bool = False


class EvaluationConfig(Section):
    """``config.evaluation``."""

    metrics: list[str] | None = None
    eval_steps: Count | None = None


class PredictionsConfig(Section):
    """``config.predictions``: what the model says to a few fixed prompts, at each eval.

    Without ``prompts``, those of the first ``count`` eval rows.
    """

    enabled: bool = True
    prompts: Annotated[list[str], Field(max_length=20)] | None = None
    count: Annotated[int, Field(ge=1, le=20), _NOT_BOOL] = 3
    max_new_tokens: Annotated[int, Field(ge=1, le=4096), _NOT_BOOL] = 64


class JobConfig(Section):
    """``config`` of a request."""

    model: ModelConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    training: TrainingConfig = TrainingConfig()
    lora: LoraConfig | None = None
    data: DataConfig = DataConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tensorboard: dict[str, Any] | None = None
    predictions: PredictionsConfig | None = None
    provider: Any = None
    tools: Any = None
    seed: Annotated[int, Field(ge=0, lt=2**32), _NOT_BOOL] = 42
    dataset_path: str | None = None
    output_dir: str | None = None


class TrainingRequest(Section):
    """What a job is to do: a start request, normalised and without its secrets.

    ``ignored`` names the fields that mean nothing to us, ``notes`` says where two spellings of
    one setting differed and which won.
    """

    config: JobConfig
    dataset_path: str = ""
    dataset_content: str | None = None
    execution_id: Annotated[str, Field(pattern=JOB_ID_PATTERN)]
    name: str | None = None
    user_id: str | None = None
    priority: Annotated[int, Field(ge=0, le=PRIORITY_LAST), _NOT_BOOL] = PRIORITY_DEFAULT
    ignored: list[str] = []
    notes: list[str] = []


class StartRequest(TrainingRequest):
    """Body of ``POST /api/training/execute``, made by ``request_parser.parse_request``."""

    job_token: Annotated[SecretStr, Field(exclude=True)]
    access_token: Annotated[SecretStr | None, Field(exclude=True)] = None

    def without_secrets(self) -> dict[str, Any]:
        """The TrainingRequest as it lies in the job store and the job folder."""
        return self.model_dump(mode="json")
