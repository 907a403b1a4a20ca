"""Rules of single settings; each raises ValueError with what would be right."""

from __future__ import annotations

import re
from ipaddress import ip_address

from pydantic import AnyHttpUrl, ValidationError


def http_url(value: str) -> str:
    """An address without a slash at its end."""
    try:
        url = AnyHttpUrl(value)
    except ValidationError:
        url = None
    if url is None or url.query or url.fragment:
        raise ValueError("should be http://host[:port] or https://host[:port]")
    if url.username is not None or url.password is not None:
        raise ValueError("should hold no user or password: addresses are shown and logged")
    return str(url).rstrip("/")


def check_origin(value: str) -> None:
    """Of a web page, as its browser names it."""
    if (
        not re.fullmatch(r"https?://[\w.-]+(:[0-9]{1,5})?", value, re.ASCII)
        or value != value.lower()
    ):
        raise ValueError(
            "should be origins, http://host[:port] in small letters, separated by commas"
        )


def check_host(value: str) -> None:
    """Of what something listens on."""
    if not re.fullmatch(r"[\w.-]+", value, re.ASCII):
        try:
            ip_address(value)
        except ValueError:
            raise ValueError("should be a host name or an address, without a port") from None


def check_key(value: str) -> None:
    """Of what travels in an Authorization header."""
    if not (value.isascii() and value.isprintable() and value == value.strip()):
        raise ValueError(
            "should be ASCII without spaces around it; `openssl rand -hex 24` makes one"
        )
