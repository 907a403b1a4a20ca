"""Start request: what a job is to do, normalised, with and without its secrets.

Exceptions:

    ContractError (TrainyardError)
     └ RequestInvalid       a request with one or more wrong fields, all named at once
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from trainyard.contract.config import JobConfig, Section
from trainyard.contract.fields.data_sets import DataSets, named
from trainyard.contract.fields.holds import After, NotBefore
from trainyard.contract.fields.numbers import NOT_BOOL
from trainyard.contract.names import JOB_ID_PATTERN, PRIORITY_DEFAULT, PRIORITY_LAST, ContractError


class FieldProblem(BaseModel):
    """One wrong field: its path as the caller spelled it, and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> FieldProblem:
        """From one of pydantic's ``errors()``."""
        place = ".".join(str(part) for part in item["loc"])
        return cls(path=place, message=item["msg"].removeprefix("Value error, "))


class RequestInvalid(ContractError):
    """A request was refused; ``problems`` names every wrong field."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))


_SHORT_MAX = 1000
ShortText = Annotated[str, Field(max_length=_SHORT_MAX)]


def shortened(text: str) -> str:
    """``text`` as a ShortText has room for it."""
    return text if len(text) <= _SHORT_MAX else f"{text[: _SHORT_MAX - 3]}..."


class GroupPlace(BaseModel):
    """The place of a job in the group that a sweep made: its number ``of`` so many, and what of the
    ``config`` only it has, by dotted path."""

    id: str
    number: int
    of: int
    settings: dict[str, Any]


class TrainingRequest(Section):
    """What a job is to do: a start request, normalised and without its secrets.

    Of ``dataset_path``, ``dataset_content`` and ``datasets`` (several, mixed) one is given.
    ``eval_dataset_path``: a data set of its own, all of which evaluates.
    ``not_before``: no earlier than then; ``after``: when these jobs have completed.
    ``group``: of a job that a sweep made.
    ``slip_in``: a running job of lower priority makes way for it while every slot is busy.
    ``ignored`` names the fields that mean nothing to us, ``notes`` says if two spellings of
    one setting differed and which won.
    """

    config: JobConfig
    dataset_path: Annotated[str, Field(max_length=8192)] = ""
    dataset_content: str | None = None
    datasets: DataSets | None = None
    eval_dataset_path: Annotated[str, Field(max_length=8192)] = ""
    execution_id: Annotated[str, Field(pattern=JOB_ID_PATTERN)]
    name: ShortText | None = None
    user_id: ShortText | None = None
    priority: Annotated[int, Field(ge=0, le=PRIORITY_LAST), NOT_BOOL] = PRIORITY_DEFAULT
    not_before: NotBefore | None = None
    after: After = Field(default=[])
    group: SkipJsonSchema[GroupPlace | None] = None
    slip_in: bool = False
    ignored: list[str] = Field(default=[])
    notes: list[str] = Field(default=[])

    @field_validator("slip_in")
    @classmethod
    def _is_first_anyway(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("priority", 0) != 0:
            raise ValueError("is for jobs of priority 0: send priority 0, or leave slip_in out")
        return value

    @property
    def is_held(self) -> bool:
        """Whether it is not to run at once; its origin may hold it besides."""
        return self.not_before is not None or bool(self.after)

    @property
    def trains_on(self) -> str:
        """What people call the data that trains; empty if it came with the request."""
        return named(self.dataset_path, self.datasets)


class StartRequest(TrainingRequest):
    """Body of ``POST /api/training/execute``, made by ``parser.parse_request``.

    ``sweep``: of a whole grid of jobs, fields of ``config`` with the values of each; the jobs' own
    requests have none (``fields.sweep``).
    ``whole_dataset_path``: the URLs with a secret in them, a line each: ``dataset_path`` and
    ``datasets`` lack it.
    """

    job_token: Annotated[SecretStr, Field(exclude=True)]
    access_token: Annotated[SecretStr | None, Field(exclude=True)] = None
    sweep: Annotated[dict[str, list[Any]] | None, Field(exclude=True)] = None
    whole_dataset_path: Annotated[SecretStr | None, Field(exclude=True)] = None

    def without_secrets(self) -> dict[str, Any]:
        """The TrainingRequest as it lies in the job store and the job folder: what is said, and the
        defaults of today."""
        return self.model_dump(mode="json", exclude_none=True)
