"""Every wire model, status and name that crosses a process boundary.

Three boundaries meet here: the backend's HTTP requests and ours to it, the job store's
event stream, and the socket between a supervisor and its training process. Imports pydantic
alone, so that every side can import it.

Exceptions:

    ContractError (ValueError)
     └ RequestInvalid       a request with one or more wrong fields, all named at once
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

JOB_ID_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"
LOG_LINES_PER_BATCH = 100
"""Lines in one log entry of the event stream, and so in one POST to the backend."""

PRIORITY_DEFAULT, PRIORITY_LAST = 5, 9
"""Priorities of a request: 0 runs first."""

TASK_TRAIN = "tasks.train"
QUEUE_GPU = "gpu"


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
    MODEL = "model"
    DISK_FULL = "disk_full"
    WORKER_LOST = "worker_lost"
    HANG = "hang"
    DIVERGED = "diverged"
    INTERNAL = "internal"


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
    Phase | Progress | Metric | Checkpoint | Held | Receipt | Outcome,
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


_Int = Annotated[int, BeforeValidator(_refuse_bool)]
_Float = Annotated[float, BeforeValidator(_refuse_bool)]
Count = Annotated[_Int, Field(ge=1)]
NonNegativeInt = Annotated[_Int, Field(ge=0)]
NonNegativeFloat = Annotated[_Float, Field(ge=0)]
Fraction = Annotated[_Float, Field(ge=0, le=1)]
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
    alpha: Annotated[_Float, Field(gt=0)] = 32
    dropout: Fraction = 0.05
    target_modules: list[str] | str | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    task_type: str = "CAUSAL_LM"


class DistributedConfig(Section):
    """``config.training.distributed``: one training in several processes of one slot.

    Each process has its own GPU (on a machine without one: a share of the cores) and takes its own
    micro-batch: the effective batch is ``batch_size * gradient_accumulation_steps * processes``.
    """

    processes: Annotated[_Int, Field(ge=1, le=64)] = 1
    strategy: Literal["ddp"] = "ddp"

    @field_validator("strategy", mode="before")
    @classmethod
    def _only_ddp(cls, value: Any) -> Any:
        if value == "fsdp":
            raise ValueError("fsdp is not built yet: this version shards nothing, send 'ddp'")
        return value


class TrainingConfig(Section):
    """``config.training`` in the normalised spelling."""

    method: Literal["sft", "dpo", "orpo", "cpt", "rlhf"] = "sft"
    num_epochs: Annotated[_Float, Field(gt=0)] = 3
    max_steps: Count | None = None
    learning_rate: Annotated[_Float, Field(gt=0)] = 2e-5
    batch_size: Count = 4
    eval_batch_size: Count | None = None
    gradient_accumulation_steps: Count = 1
    warmup_steps: NonNegativeInt = 0
    warmup_ratio: Fraction = 0.0
    lr_scheduler_type: str = "linear"
    optim: str | None = None
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: NonNegativeFloat = 1.0
    bf16: bool | None = None
    fp16: bool | None = None
    gradient_checkpointing: bool | None = None
    max_length: Annotated[_Int, Field(ge=8)] | None = None
    max_prompt_length: Count | None = None
    packing: bool = False
    group_by_length: bool = False
    beta: Annotated[_Float, Field(gt=0)] | None = None
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

    @property
    def processes(self) -> int:
        """Processes that train together."""
        return self.distributed.processes if self.distributed else 1

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
    train_split: Annotated[_Float, Field(gt=0, le=1)] | None = None
    eval_split: Annotated[_Float, Field(ge=0, lt=1)] | None = None


class EvaluationConfig(Section):
    """``config.evaluation``."""

    metrics: list[str] | None = None
    eval_steps: Count | None = None


class JobConfig(Section):
    """``config`` of a request."""

    model: ModelConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    training: TrainingConfig = TrainingConfig()
    lora: LoraConfig | None = None
    data: DataConfig = DataConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tensorboard: dict[str, Any] | None = None
    predictions: dict[str, Any] | None = None
    provider: Any = None
    tools: Any = None
    seed: Annotated[_Int, Field(ge=0, lt=2**32)] = 42
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
    priority: Annotated[_Int, Field(ge=0, le=PRIORITY_LAST)] = PRIORITY_DEFAULT
    ignored: list[str] = []
    notes: list[str] = []


class StartRequest(TrainingRequest):
    """Body of ``POST /api/training/execute``, normalised. Made by :func:`parse_request`."""

    job_token: Annotated[SecretStr, Field(exclude=True)]
    access_token: Annotated[SecretStr | None, Field(exclude=True)] = None

    def without_secrets(self) -> dict[str, Any]:
        """The TrainingRequest as it lies in the job store and the job folder."""
        return self.model_dump(mode="json")


_TRAINER_NAMES = {
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "evaluation_strategy": "eval_strategy",
    "max_seq_length": "max_length",
}
_LORA_NAMES = {"lora_r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout"}
_SPELLINGS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    *((("training", old), ("training", new)) for old, new in _TRAINER_NAMES.items()),
    (("data", "max_seq_length"), ("training", "max_length")),
    (("data", "max_length"), ("training", "max_length")),
    *((("lora", old), ("lora", new)) for old, new in _LORA_NAMES.items()),
    *((("training", old), ("lora", new)) for old, new in _LORA_NAMES.items()),
    (("training", "lora_target_modules"), ("lora", "target_modules")),
    (("training", "lora_bias"), ("lora", "bias")),
    (("evaluation", "eval_steps"), ("training", "eval_steps")),
    (("model", "dtype"), ("model", "torch_dtype")),
)
"""Other spelling → normalised path, both below ``config``. Earlier rows win over later ones."""

_SECRET_KEY = re.compile(
    r"(^|_)(api_?key|private_?key|password|passwd|secret|credentials?|bearer|authorization|"
    r"(access|auth|hf|hub|huggingface|job|api)_?token)($|_)|^token$",
    re.IGNORECASE,
)
_OWN_SECRETS = ("job_token", "access_token")
_TOKEN = re.compile(r"[\x21-\x7e]+")
"""What an Authorization header can carry."""
NESTING_MAX = 32
PROBLEMS_MAX = 100


class _Normaliser:
    """Rewrites one raw ``config`` to the normalised spelling, remembering who said what."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.spelled: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.notes: list[str] = []
        self.problems: list[FieldProblem] = []

    def run(self) -> None:
        for section in self.config.values():
            if isinstance(section, dict):  # null means: not set
                for key in [key for key, value in section.items() if value is None]:
                    del section[key]
        self._fold_lora_config()
        for given, normal in _SPELLINGS:
            self._move(given, normal)
        training = self.config.get("training")
        if isinstance(training, dict):
            self._settle_warmup(training)

    def _section(self, name: str, *, make: bool = False) -> dict[str, Any] | None:
        section = self.config.get(name)
        if section is None and make:
            section = self.config[name] = {}
        return section if isinstance(section, dict) else None

    def _fold_lora_config(self) -> None:
        training = self._section("training")
        given: Any = None if training is None else training.pop("lora_config", None)
        if given is not None and not isinstance(given, dict):
            self.problems.append(
                FieldProblem(path="config.training.lora_config", message="should be an object")
            )
            return
        for key, value in (given or {}).items():
            name = str(_LORA_NAMES.get(key, key))
            self._put(("training", "lora_config", key), ("lora", name), value)

    def _move(self, given: tuple[str, ...], normal: tuple[str, ...]) -> None:
        section = self._section(given[0])
        if section is None or given[1] not in section or given == normal:
            return
        self._put(given, normal, section.pop(given[1]))

    def _put(self, given: tuple[str, ...], normal: tuple[str, ...], value: Any) -> None:
        target = self._section(normal[0], make=True)
        if target is None or value is None:
            return
        if target.get(normal[1]) is None:
            target[normal[1]] = value
            self.spelled[normal] = given
        elif target[normal[1]] != value:
            winner = _dotted(("config", *self.spelled.get(normal, normal)))
            self.notes.append(
                f"{winner} = {target[normal[1]]!r} wins over "
                f"{_dotted(('config', *given))} = {value!r}"
            )

    def _settle_warmup(self, training: dict[str, Any]) -> None:
        steps, ratio = training.get("warmup_steps"), training.get("warmup_ratio")
        if isinstance(steps, int) and steps > 0 and ratio:
            training.pop("warmup_ratio")
            self.notes.append(
                f"config.training.warmup_steps = {steps} wins over "
                f"config.training.warmup_ratio = {ratio!r}"
            )


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


class _Copier:
    """Copies a decoded JSON body without its secrets, naming what JSON or UTF-8 cannot hold."""

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.problems: list[FieldProblem] = []

    def copy(self, value: Any, path: tuple[str, ...] = ()) -> Any:
        if len(path) > NESTING_MAX:
            return self._refuse(path[:2], f"is nested deeper than {NESTING_MAX} levels")
        if isinstance(value, Mapping):
            return self._copy_object(value, path)
        if isinstance(value, list):
            return [self.copy(inner, (*path, str(i))) for i, inner in enumerate(value)]
        if isinstance(value, str) and not _is_unicode(value):
            return self._refuse(path, "has half of a surrogate pair, which is no character")
        if isinstance(value, float) and not math.isfinite(value):
            return self._refuse(path, "should be a finite number")
        return value

    def _copy_object(self, value: Mapping[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
        kept = {}
        for key, inner in value.items():
            here = (*path, str(key))
            if not _is_unicode(here[-1]):
                self._refuse(path, "has a name with half of a surrogate pair")
            elif here[0] in _OWN_SECRETS and not path:
                kept[here[0]] = inner
            elif inner and isinstance(inner, str | list | dict) and _SECRET_KEY.search(here[-1]):
                self.dropped.append(f"{_dotted(here)} (looks like a secret: not stored)")
            else:
                kept[here[-1]] = self.copy(inner, here)
        return kept

    def _refuse(self, path: tuple[str, ...], message: str) -> None:
        self.problems.append(FieldProblem(path=_dotted(path) or "body", message=message))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _extras(model: BaseModel, path: tuple[str, ...]) -> Iterator[str]:
    for key in model.model_extra or {}:
        yield _dotted((*path, key))
    for key in type(model).model_fields:
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            yield from _extras(value, (*path, key))


def _problems(error: ValidationError, spelled: Mapping[tuple[str, ...], tuple[str, ...]]) -> Any:
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        loc = tuple(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if loc[:3] == ("config", "lora", "target_modules"):
            loc, message = loc[:3], "should be a name or a list of names"
        if loc[:1] == ("config",) and loc[1:3] in spelled:
            loc = ("config", *spelled[loc[1:3]], *loc[3:])
        if loc == ("execution_id",):
            message = (
                "a job id has 1 to 128 letters, digits, '.', '_' or '-' and starts with no dot"
            )
        elif loc == ("job_token",):
            message = "required: without it no report of this job could reach the backend"
        yield FieldProblem(path=_dotted(loc), message=message[:1].lower() + message[1:])


def _distinct(problems: list[FieldProblem]) -> list[FieldProblem]:
    """The first problem of each field, and no more of them than a person can read."""
    distinct = list({p.path: p for p in reversed(problems)}.values())[::-1]
    if len(distinct) > PROBLEMS_MAX:
        more = f"{len(distinct) - PROBLEMS_MAX} more fields are wrong"
        distinct[PROBLEMS_MAX:] = [FieldProblem(path="body", message=more)]
    return distinct


def parse_request(body: Any) -> StartRequest:
    """Read a start request in any of its spellings.

    ``body`` is the decoded JSON of ``POST /api/training/execute``; it is not changed. Where it
    names no ``execution_id``, one is made. Raises RequestInvalid with every wrong field.
    """
    if not isinstance(body, Mapping):
        raise RequestInvalid([FieldProblem(path="body", message="should be a JSON object")])
    copier = _Copier()
    raw = copier.copy(body)
    raw.setdefault("config", None)
    normaliser = _Normaliser(raw["config"] if isinstance(raw["config"], dict) else {})
    normaliser.run()
    raw["ignored"], raw["notes"] = [], []
    if raw.get("execution_id") is None:
        raw["execution_id"] = f"job-{secrets.token_hex(8)}"
    if raw.get("dataset_path") is None:
        raw["dataset_path"] = ""

    problems = [*copier.problems, *normaliser.problems]
    request = None
    try:
        request = StartRequest.model_validate(raw)
    except ValidationError as error:
        problems.extend(_problems(error, normaliser.spelled))
    token = raw.get("job_token")
    if isinstance(token, str) and not _TOKEN.fullmatch(token):
        message = "should hold visible ASCII characters alone" if token else "should not be empty"
        problems.append(FieldProblem(path="job_token", message=message))
    inner_path = raw["config"].get("dataset_path") if isinstance(raw["config"], dict) else None
    if not raw["dataset_path"] and not raw.get("dataset_content") and not inner_path:
        problems.append(
            FieldProblem(path="dataset_path", message="required where there is no dataset_content")
        )
    if problems or request is None:
        raise RequestInvalid(_distinct(problems))

    extras = [p for p in _extras(request, ()) if p.partition(".")[0] not in ("ignored", "notes")]
    request.ignored = sorted(extras) + copier.dropped
    request.notes = normaliser.notes
    if not request.dataset_path and not request.dataset_content:
        request.dataset_path = inner_path or ""
    if request.config.lora is None and request.config.training.use_lora:
        request.config.lora = LoraConfig()
    return request
