"""Start request: what a job is to do, normalised, with and without its secrets.

Exceptions:

    ContractError (TrainyardError)
     └ RequestInvalid       a request with one or more wrong fields, all named at once
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr

from trainyard.contract.config import JobConfig, Section
from trainyard.contract.fields.data_sets import DataSets, named
from trainyard.contract.fields.numbers import NOT_BOOL
from trainyard.contract.names import JOB_ID_PATTERN, PRIORITY_DEFAULT, PRIORITY_LAST, ContractError


class FieldProblem(BaseModel):
    """One wrong field: its path as the caller spelled it, and what is wrong with it."""

    path: str
    message: str


class RequestInvalid(ContractError):
    """A request was refused; ``problems`` names every wrong field."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{p.path}: {p.message}" for p in problems))


ShortText = Annotated[str, Field(max_length=1000)]


class TrainingRequest(Section):
    """What a job is to do: a start request, normalised and without its secrets.

    Of ``dataset_path``, ``dataset_content`` and ``datasets`` (several, mixed) one is given.
    ``eval_dataset_path``: a data set of its own, all of which evaluates.
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
    ignored: list[str] = Field(default=[])
    notes: list[str] = Field(default=[])

    @property
    def trains_on(self) -> str:
        """What people call the data that trains; empty if it came with the request."""
        return named(self.dataset_path, self.datasets)


class StartRequest(TrainingRequest):
    """Body of ``POST /api/training/execute``, made by ``parser.parse_request``.

    ``whole_dataset_path``: the URLs with a secret in them, a line each: ``dataset_path`` and
    ``datasets`` lack it.
    """

    job_token: Annotated[SecretStr, Field(exclude=True)]
    access_token: Annotated[SecretStr | None, Field(exclude=True)] = None
    whole_dataset_path: Annotated[SecretStr | None, Field(exclude=True)] = None

    def without_secrets(self) -> dict[str, Any]:
        """The TrainingRequest as it lies in the job store and the job folder."""
        return self.model_dump(mode="json")
