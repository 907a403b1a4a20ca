"""Settings from the environment or ``.env``: read once, typed, every problem named at once.

Every side reads them (docs/decisions/0002-settings.md).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from trainyard.contract.error_tree import TrainyardError
from trainyard.setting_parts.addresses import AddressSettings
from trainyard.setting_parts.sharing import SharingSettings
from trainyard.setting_parts.values import (
    Currency,
    Folder,
    Folders,
    MachineName,
    Patterns,
    Price,
)

RETENTION_DAYS_MAX, SECONDS_MAX = 36_500, 31_536_000
"""A hundred years, and one: no clock and no timer takes all that a float can hold."""


class SettingsError(TrainyardError):
    """One or more settings are wrong; the text names each, and what would be right."""


class Settings(SharingSettings, AddressSettings):
    """Every setting of Trainyard. Names are the environment variables in lower case."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
    )

    trainyard_home: Folder = Field(Path("./var"), description="Jobs, caches, logs, embedded Redis.")
    dataset_roots: Folders = Field(
        (Path("./datasets"),), description="Folders that a job may read data sets from (`a:b`)."
    )
    model_roots: Folders = Field(
        (Path("./models"),), description="Folders that a job may read models from (`a:b`)."
    )
    trainyard_host: MachineName | None = Field(
        None,
        description="This machine's name, in its slots' names; unset: its host name, in Docker "
        "its container's.",
    )
    slots: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None,
        description="Jobs at a time; unset: GPUs / `GPUS_PER_SLOT`, 1 on a machine without.",
    )
    gpus_per_slot: Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description="GPUs of one slot, for jobs that ask for several (`training.distributed`).",
    )
    require_gpu: bool = Field(
        False,
        description="Whether a slot that finds no usable GPU takes no jobs, even if the driver "
        "shows none; a GPU that the driver shows is always required.",
    )
    max_queued_jobs: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Jobs that may wait; one more is refused with 409. Unset: no limit."
    )
    max_sweep_jobs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        64, description="Jobs of one sweep at most (`submit --sweep`)."
    )
    max_restarts: Annotated[int, Field(ge=0)] = Field(
        2, description="How often a job that crashed is started again."
    )
    lease_seconds: Annotated[float, Field(ge=2, le=86_400)] = Field(
        30, description="A worker without a sign of life for so long has lost its job."
    )
    cancel_grace_seconds: Annotated[float, Field(ge=0, le=SECONDS_MAX)] = Field(
        30, description="Time for a training to stop when asked, before it is killed."
    )
    stop_timeout_seconds: Annotated[float, Field(ge=1, le=SECONDS_MAX)] = Field(
        120, description="Time for a worker to put its job back when it is told to stop."
    )
    hang_seconds: Annotated[float, Field(gt=0, le=SECONDS_MAX)] | None = Field(
        None,
        description="A training without a step for so long, or before its first without a sign of "
        "life, is restarted; unset: from its median step, before the first half an hour.",
    )
    start_timeout: Annotated[float, Field(gt=0, le=SECONDS_MAX)] | None = Field(
        None,
        description="Seconds that an attempt may take before its first step: past it the job "
        "fails. Unset: no limit.",
    )
    max_job_hours: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        None,
        description="Hours that a job may spend in slots, all its attempts together; a request may "
        "ask for less (`config.training.max_hours`). Unset: no limit.",
    )
    home_wait_hours: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        None,
        description="Hours that a job waits for the host with its checkpoints before it fails; "
        "unset: no limit.",
    )
    park_seconds: Annotated[float, Field(ge=0, le=SECONDS_MAX)] = Field(
        3600, description="How long a paused training waits in its process; 0: not at all."
    )
    log_flush_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        1, description="A log line waits for at most so long for others to travel with."
    )
    log_lines_kept: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        10_000, description="Newest log lines kept per job; the job's folder has the last 256 MB."
    )
    max_request_mb: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        64,
        description="Largest request, over HTTP or through Redis, with an inline data set; "
        "1 MB is 10^6 bytes.",
    )
    retention_days: Annotated[float, Field(gt=0, le=RETENTION_DAYS_MAX)] = Field(
        30,
        description="Ended jobs, tokens, streams, caches and uploads go after so long; trained "
        "models stay.",
    )
    max_download_gb: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        50,
        description="Largest data set that a job may download, or unpack from an archive; of "
        "several together. 1 GB is 10^9 bytes.",
    )
    max_uploads_gb: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        20,
        description="All files together that are kept for OpenAI's clients (`/v1/files`); 0: none.",
    )
    allow_private_urls: bool = Field(
        False,
        description="Whether data sets may come from private, loopback and link-local addresses.",
    )
    s3_buckets: Patterns = Field(
        (),
        description="Buckets that jobs may read from (`sets-*,public`); unset: all that the "
        "worker's keys open.",
    )
    allow_remote_code: bool = Field(
        False, description="Whether a model's own code may run if a request asks for it."
    )
    result_mode: Literal["0600", "0640"] = Field(
        "0640",
        description="Rights of a trained model's files: `0640` lets the worker's group read them, "
        "`0600` its user only.",
    )
    preload: bool = Field(
        True, description="Fork trainings from a process that has torch imported already."
    )

    price_per_gpu_hour: Price | None = Field(None, description="Of one GPU in a slot.")
    price_per_kwh: Price | None = Field(None, description="Of the GPUs' energy; unset: none shown.")
    currency: Currency = Field("", description="Of both prices, as it is to be shown (`EUR`).")

    @property
    def embedded_redis_url_file(self) -> Path:
        """Where the embedded Redis says how it is reached; mode 0600, it holds the password."""
        return self.trainyard_home / "redis" / "url"

    @property
    def redis_location(self) -> str:
        """URL of the Redis in use: ``REDIS_URL``, else that of the embedded one.

        Raises SettingsError if neither is there.
        """
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        try:
            return self.embedded_redis_url_file.read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            raise SettingsError(
                "no Redis: REDIS_URL is not set and no embedded Redis runs for "
                f"TRAINYARD_HOME={self.trainyard_home}.",
                "Start one with `trainyard up`, or set REDIS_URL.",
            ) from None
        except OSError as error:
            raise SettingsError(
                f"{self.embedded_redis_url_file} cannot be read ({error.strerror})",
                "be the user who started `trainyard up`, or set REDIS_URL.",
            ) from None

    def job_dir(self, job_id: str) -> Path:
        return self.trainyard_home / "jobs" / job_id


def read_settings(**overrides: Any) -> Settings:
    """Settings of this process, unshared. Raises SettingsError naming every wrong one."""
    try:
        return Settings(**overrides)
    except UnicodeDecodeError:
        raise SettingsError(
            "the file .env is no UTF-8 text", "write it again as NAME=value lines"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"the file .env cannot be read ({error.strerror})", "mend or remove it"
        ) from None
    except ValidationError as error:
        lines = (
            f"{str(e['loc'][0]).upper()}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
            if e["type"] != "default_factory_not_called"  # of an unset one: another is wrong
        )
        raise SettingsError("wrong settings:\n  " + "\n  ".join(lines)) from None


@cache
def settings() -> Settings:
    """Settings of this process, read at the first call."""
    return read_settings()
