"""Settings of addresses: where the services listen, whom they call, and with what keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from trainyard.setting_parts.values import (
    AgentId,
    HeaderSecret,
    Host,
    HttpUrl,
    Origins,
    Port,
    RedisUrl,
    UserAndPassword,
)


class AddressSettings(BaseSettings):
    """The first of the settings; ``trainyard.settings`` has the others, and reads all."""

    redis_url: RedisUrl | None = Field(
        None,
        description="The Redis of broker and job store, a database of its own; unset: embedded. "
        "`?password_file=FILE` takes the password from a file.",
    )
    embedded_redis_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        0,
        description="Port on loopback of the embedded Redis, for clients of other languages; "
        "0: its Unix socket only.",
    )
    dev_backend_port: Port = Field(
        3000, description="Port of the development backend, if `trainyard up` starts one."
    )
    pull_api_key: HeaderSecret | None = Field(
        None, description="The key that the backend gave for fetching jobs (`PULL_URL`)."
    )
    pull_url: HttpUrl | None = Field(
        None, description="The backend to fetch jobs from, if it cannot reach the bridge."
    )
    pull_agent_id: AgentId | None = Field(
        None, description="As whom; unset: an id that is made once and kept in `TRAINYARD_HOME`."
    )
    backend_url: HttpUrl = Field(
        default_factory=lambda data: data["pull_url"] or _loopback(data["dev_backend_port"]),
        description="Who hears of the jobs; unset: `PULL_URL`, or a development backend that "
        "`trainyard up` starts.",
    )
    webhook_secret: HeaderSecret | None = Field(
        None, description="The key that the webhook's bodies are signed with."
    )
    webhook_url: HttpUrl | None = Field(None, description="Who is told when a job has ended.")
    bridge_host: Host = Field("127.0.0.1", description="Address that the bridge listens on.")
    bridge_port: Port = Field(8000, description="Its port.")
    bridge_api_key: HeaderSecret | None = Field(
        None, description="What callers must send as bearer token; required beyond loopback."
    )
    bridge_cors_origins: Origins = Field(
        (),
        description="Web pages of other origins whose browsers may call the bridge "
        "(`https://ui.example,http://localhost:5173`).",
    )
    bridge_published_on: str | None = Field(
        None,
        description="In a container that listens on all addresses: the host's address that its "
        "port is published on; without a key a loopback one.",
    )
    flower_port: Port = Field(5555, description="Flower's port.")
    flower_basic_auth: UserAndPassword | None = Field(
        None, description="`user:password` that Flower asks for; required beyond loopback."
    )
    flower_published_on: str | None = Field(
        None,
        description="In a container that listens on all addresses: the host's address that "
        "Flower's port is published on; without a password a loopback one.",
    )

    @field_validator("pull_url", "webhook_url")
    @classmethod
    def _with_a_key(cls, value: str | None, info: ValidationInfo) -> str | None:
        key = {"pull_url": "pull_api_key", "webhook_url": "webhook_secret"}[str(info.field_name)]
        if value is not None and info.data.get(key) is None:
            raise ValueError(f"needs {key.upper()}, the key that the other side knows")
        return value

    @property
    def has_development_backend(self) -> bool:
        """Whether `trainyard up` starts the backend: nobody has named another."""
        ours = _loopback(self.dev_backend_port)
        return "backend_url" not in self.model_fields_set and self.pull_url in (None, ours)

    @property
    def bridge_url(self) -> str:
        """Where the bridge is reached from this machine."""
        host = self.bridge_host
        host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  (compared, not bound)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.bridge_port}"


def _loopback(port: int) -> str:
    return f"http://127.0.0.1:{port}"
