"""Settings from the environment or ``.env``: read once, typed, every problem named at once.

They live here, not in ``worker``, because the bridge must not import the worker and both
read them (docs/decisions/0002-settings.md).
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AnyHttpUrl, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65535)]
Paths = Annotated[tuple[Path, ...], NoDecode]


class SettingsError(Exception):
    """One or more settings are wrong; the text names each, and what would be right."""


class Settings(BaseSettings):
    """Every setting of Trainyard. Names are the environment variables in lower case."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    redis_url: SecretStr | None = Field(None, description="unset or 'embedded': an embedded Redis")
    backend_url: str = Field(
        "http://127.0.0.1:3000", description="unset: the development backend on port 3000"
    )
    bridge_host: str = "127.0.0.1"
    bridge_port: Port = 8000
    bridge_api_key: SecretStr | None = None
    flower_port: Port = 5555
    flower_basic_auth: SecretStr | None = Field(None, description="user:password")
    trainyard_home: Path = Path("./var")
    dataset_roots: Paths = (Path("./datasets"),)
    model_roots: Paths = (Path("./models"),)
    slots: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="unset: one per GPU; 1 on a machine without"
    )
    max_queued_jobs: Annotated[int, Field(ge=0)] | None = Field(None, description="unset: no limit")
    max_restarts: Annotated[int, Field(ge=0)] = 2
    lease_seconds: Annotated[float, Field(ge=2)] = 30
    cancel_grace_seconds: Annotated[float, Field(ge=0)] = 30
    stop_timeout_seconds: Annotated[float, Field(ge=1)] = 120
    log_flush_seconds: Annotated[float, Field(gt=0, le=60)] = 1
    log_lines_kept: Annotated[int, Field(ge=100)] = 10_000
    max_request_mb: Annotated[float, Field(gt=0)] = 64
    allow_remote_code: bool = False
    preload: bool = True

    @field_validator("dataset_roots", "model_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        return value.split(":") if isinstance(value, str) else value

    @field_validator("dataset_roots", "model_roots")
    @classmethod
    def _absolute_paths(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(path.expanduser().resolve() for path in value)

    @field_validator("redis_url")
    @classmethod
    def _embedded(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None or value.get_secret_value() == "embedded" else value

    @field_validator("trainyard_home")
    @classmethod
    def _absolute_path(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("backend_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        return str(AnyHttpUrl(value)).rstrip("/")

    @property
    def embedded_redis_url_file(self) -> Path:
        """Where the embedded Redis says how it is reached; mode 0600, it holds the password."""
        return self.trainyard_home / "redis" / "url"

    @property
    def redis_location(self) -> str:
        """URL of the Redis in use: ``REDIS_URL``, else that of the embedded one.

        Raises SettingsError where neither is there.
        """
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        try:
            return self.embedded_redis_url_file.read_text().strip()
        except FileNotFoundError:
            raise SettingsError(
                "no Redis: REDIS_URL is not set and no embedded Redis runs for "
                f"TRAINYARD_HOME={self.trainyard_home}. Start one with `trainyard up`, "
                "or set REDIS_URL."
            ) from None

    def job_dir(self, job_id: str) -> Path:
        return self.trainyard_home / "jobs" / job_id


def read_settings(**overrides: Any) -> Settings:
    """Settings of this process, unshared. Raises SettingsError naming every wrong one."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = (f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError("wrong settings:\n  " + "\n  ".join(lines)) from None


@cache
def settings() -> Settings:
    """Settings of this process, read at the first call."""
    return read_settings()


def slot_name(number: int) -> str:
    """Name of a slot of this host: ``<host>-<n>``."""
    host = os.environ.get("TRAINYARD_HOST") or socket.gethostname()
    return f"{host}-{number}"
