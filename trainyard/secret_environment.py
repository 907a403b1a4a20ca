"""Secret environment: which variables are secrets, who gets which, and their way to a training.

Others' secrets (HF_TOKEN, AWS keys, a tracker's key, a proxy's password) are for what fetches and
for trackers. A training reads what strangers wrote, and a reader that is led astray shows memory:
so it is forked from a process that never held one, and gets them as a sealed file that it does not
read (``tasks.sealed_secrets``). No other service gets them at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping

from trainyard.settings import Settings

SECRET_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|BASIC_AUTH|CONNECTION_STRING"
    r"|(API|ACCESS|ACCOUNT|SECRET|PRIVATE|SIGNING|STORAGE)_?KEY)(_ID)?$",
    re.IGNORECASE,
)
SECRETS_FD_VARIABLE = "TRAINYARD_SECRETS_FD"
"""Names, in the environment of a check, the descriptor of the sealed secrets."""
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of what reads foreign data, and of what it is forked from."""
    ours = _without_our_secrets(environment)
    return {name: value for name, value in ours.items() if not _is_secret(name, value)}


def without_others_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service that fetches nothing: ours stay."""
    others = others_secrets(environment)
    return {name: value for name, value in environment.items() if name not in others}


def others_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets that are not Trainyard's own: for what fetches, and for trackers."""
    ours = _without_our_secrets(environment)
    return {name: value for name, value in ours.items() if _is_secret(name, value)}


def seal(environment: Mapping[str, str], dataset_url: str = "") -> int:
    """A descriptor of a sealed file in memory with the secrets for one training: the caller's.

    ``dataset_url``: the data sets' URLs, a line each, with what :func:`clean_url` takes out.
    """
    content = {"environment": others_secrets(environment), "dataset_url": dataset_url}
    descriptor = os.memfd_create("trainyard-secrets", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, json.dumps(content).encode())
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def _without_our_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that needs no secret of ours: what trains, above all."""
    secret = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if "Secret" in str(field.annotation)
    }
    return {name: value for name, value in environment.items() if name.upper() not in secret}


def _is_secret(name: str, value: str) -> bool:
    has_password = re.match(r"[a-z][a-z0-9+.-]*://[^/?#\s]*@", value, re.IGNORECASE)
    return bool(value) and (SECRET_NAME.search(name) or has_password) is not None
