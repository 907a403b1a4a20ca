"""Clean URLs: what of a data set's URL may be stored and shown, without what gives access to it."""

from __future__ import annotations

import re

_SECRET_PARAMETER = re.compile(
    r"amz|goog|sig|token|key|secret|cred|pass|pwd|auth|policy|hmac|hash|jwt|session|ticket|code"
    r"|^(?:se|sp|sr|st|sv|sks|ske|skt|e|expires)$",
    re.IGNORECASE,
)
"""Names of parameters of signed URLs: of AWS, Google, Azure, CloudFront, and of others."""
_PLAIN_VALUE = re.compile(r"[\w.,/-]{0,32}")
"""A longer value, or one of other characters, may be a secret whatever it is called."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://\S+")
_CHECKSUM = re.compile(r"sha256=[0-9a-fA-F]{64}")


def clean_url(url: str) -> str:
    """``url`` without user, password, signatures and what else may be a secret in its parameters.

    A text that is not one URL is returned as it is.
    """
    if not _URL.fullmatch(url):
        return url
    scheme, _, rest = url.partition("://")
    rest, _, fragment = rest.partition("#")
    place, _, query = rest.partition("?")
    # The last "@" before the path ends the user's part; a password may hold a raw "/".
    head, at, tail = place.rpartition("@")
    if at and (":" in head or "/" not in head):
        place = tail
    kept = "&".join(part for part in query.split("&") if part and _is_plain(part))
    return (
        f"{scheme}://{place}"
        + (f"?{kept}" if kept else "")
        + (f"#{fragment}" if _CHECKSUM.fullmatch(fragment) else "")
    )


def secrets_of(url: str) -> list[str]:
    """What :func:`clean_url` leaves out: values to be known wherever they show."""
    if clean_url(url) == url:
        return []
    _, _, rest = url.partition("://")
    rest, _, fragment = rest.partition("#")
    place, _, query = rest.partition("?")
    found = list[str]()
    if "@" in place:
        user = place.rpartition("@")[0]
        found += [user, *user.split(":", 1)]
    found += [part.partition("=")[2] for part in query.split("&") if not _is_plain(part)]
    return [*found, fragment]


def _is_plain(part: str) -> bool:
    name, _, value = part.partition("=")
    return not _SECRET_PARAMETER.search(name) and _PLAIN_VALUE.fullmatch(value) is not None
