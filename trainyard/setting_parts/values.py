"""Types of the settings' values; each raises ValueError with what would be right."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import NoDecode

from trainyard.redis_url import parse_redis_url


def _redis_url(value: SecretStr | None) -> SecretStr | None:
    if value is None or value.get_secret_value() == "embedded":
        return None
    parse_redis_url(value.get_secret_value())
    return value


def _http_url(value: str) -> str:
    try:
        url = AnyHttpUrl(value)
    except ValidationError:
        url = None
    if url is None or url.query or url.fragment:
        raise ValueError("should be http://host[:port] or https://host[:port]")
    if url.username is not None or url.password is not None:
        raise ValueError("should hold no user or password: addresses are shown and logged")
    return str(url).rstrip("/")


def _origins(value: Any) -> Any:
    origins = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    for origin in origins:
        if (
            not re.fullmatch(r"https?://[\w.-]+(:[0-9]{1,5})?", origin, re.ASCII)
            or origin != origin.lower()
        ):
            raise ValueError(
                "should be origins, http://host[:port] in small letters, separated by commas"
            )
    return origins


def _patterns(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _currency(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("should be a short name or sign, such as EUR")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value, re.ASCII):
        try:
            ip_address(value)
        except ValueError:
            raise ValueError("should be a host name or an address, without a port") from None
    return value


def _machine_name(value: str) -> str:
    if not value.isprintable() or value != value.strip() or "," in value:
        raise ValueError("should be one line without commas: it is part of the slots' names")
    return value


def _header_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable() and text == text.strip()):
        raise ValueError(
            "should be ASCII without spaces around it; `openssl rand -hex 24` makes one"
        )
    return value


def _user_and_password(value: SecretStr) -> SecretStr:
    if not all(value.get_secret_value().partition(":")):
        raise ValueError("should be user:password")
    return value


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from None


def _split_paths(value: Any) -> Any:
    # An empty part would be the current folder, which nobody meant to open.
    return [part for part in value.split(":") if part] if isinstance(value, str) else value


Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, AfterValidator(_host)]
"""Name or address of what something listens on, without a port."""
MachineName = Annotated[str, Field(max_length=100), AfterValidator(_machine_name)]
"""Name of a machine, which becomes part of the names of queues; Celery splits those at commas."""
Price = Annotated[float, Field(ge=0)]
Currency = Annotated[str, Field(max_length=10), AfterValidator(_currency)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""Address without a slash at its end, without a password."""
Patterns = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_patterns)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)]
"""Web pages' origins as browsers name them, separated by commas."""
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
"""Redis as ``redis_url.py`` parses it; ``embedded`` is as if it was unset."""
HeaderSecret = Annotated[SecretStr, AfterValidator(_header_secret)]
"""Key that travels in an Authorization header."""
AgentId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{10,128}$")]
"""Name of this yard where it fetches jobs."""
UserAndPassword = Annotated[SecretStr, AfterValidator(_user_and_password)]
Folder = Annotated[Path, AfterValidator(_absolute)]
Folders = Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(_split_paths)]
"""Paths separated by colons."""
