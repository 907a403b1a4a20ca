"""Troubles of a Redis in words: what it answered, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Trouble:
    """``kind``: a ``passing`` one may go by itself, so that a process that starts goes on and tries
    again; a ``risk`` harms nobody yet; ``away``: nobody answers."""

    sentence: str
    mend: str
    kind: Literal["lasting", "away", "passing", "risk"] = "lasting"


_AWAY = "start it, or set REDIS_URL to one that runs (unset: an embedded one)"
NO_DISK = Trouble(
    "this Redis takes no writes, because it could not write to its disk",
    "make room there, or mend the folder's rights; its log names the file",
    kind="passing",
)
_ANSWERS: tuple[tuple[str, Trouble], ...] = (
    (
        r"\bNOAUTH\b|already authenticated|Authentication required",
        Trouble(
            "this Redis asks for a password, and REDIS_URL has none",
            "put it there: redis://:PASSWORD@host:6379/0, percent-encoded, or ?password_file=FILE",
        ),
    ),
    (
        r"without any password configured",
        Trouble(
            "REDIS_URL has a password, and this Redis asks for none: it may be another one",
            "set requirepass in redis.conf, or take the password out of REDIS_URL",
        ),
    ),
    (
        r"WRONGPASS|invalid username-password|invalid password",
        Trouble(
            "this Redis does not take the user and password of REDIS_URL",
            "correct them there ('/', '#', '?', '@' and ':' within are percent-encoded), or in its "
            "password_file",
        ),
    ),
    (
        r"read only replica|\bREADONLY\b",
        Trouble(
            "this Redis is a read-only replica",
            "set REDIS_URL to the primary, or to the sentinels that know it (sentinel://)",
            kind="passing",
        ),
    ),
    (
        r"\bOOM\b|used memory > 'maxmemory'",
        Trouble(
            "this Redis takes no writes: its memory is full (maxmemory)",
            "raise maxmemory in redis.conf, or remove what others keep there",
            kind="passing",
        ),
    ),
    (r"\bMISCONF\b", NO_DISK),
    (
        r"\bNOREPLICAS\b",
        Trouble(
            "this Redis takes no writes: too few of its replicas answer (min-replicas-to-write)",
            "mend the replicas, or lower min-replicas-to-write",
            kind="passing",
        ),
    ),
    (
        r"\bLOADING\b|loading the dataset",
        Trouble(
            "this Redis is still reading its data from the disk",
            "wait until it has; its log shows how far it is",
            kind="passing",
        ),
    ),
    (
        r"Name or service not known|name resolution|nodename nor servname|No address associated",
        Trouble(
            "no name server knows the host of REDIS_URL",
            "correct it there, or make it known (DNS, /etc/hosts)",
            kind="away",
        ),
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        Trouble(
            "nobody vouches for the certificate of this Redis",
            "name its authority in REDIS_URL: rediss://...?ssl_ca_certs=FILE",
        ),
    ),
)


def trouble_of(error: Exception) -> Trouble:
    """What stands behind an error of a client of Redis; no password is in the text."""
    said = str(error)
    for pattern, trouble in _ANSWERS:
        if re.search(pattern, said):
            return trouble
    return Trouble(f"Redis does not answer ({said})", _AWAY, kind="away")
