"""Pull mode's side of the backend: where jobs are fetched, since it cannot reach this yard.

The key stands in the Authorization header only. A claim cannot be taken back, and a second one is
refused: what it gave lies in ``$TRAINYARD_HOME/pull/`` until the job is admitted.

Exceptions:

    PullTrouble (TrainyardError)    it is not known what the backend did; the text says why
"""

from __future__ import annotations

import json
import math
import re
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from pydantic import SecretStr

from trainyard import __version__
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.names import JOB_ID_PATTERN
from trainyard.contract.units import MB
from trainyard.direct_http import open_session
from trainyard.durable_files import write_atomically
from trainyard.settings import Settings

TIMEOUT_S = 10.0
INTERVAL_S, INTERVAL_MIN_S, INTERVAL_MAX_S = 10.0, 0.1, 300.0
ANSWER_BYTES_MAX = 4 * MB
LOST_SUFFIX = ".lost"
"""Of a note about a claim whose answer never came."""


class PullTrouble(TrainyardError):
    """No usable answer of the backend."""


@dataclass(frozen=True)
class Poll:
    """``job``: one that waits to be claimed; None if none does."""

    job: Mapping[str, Any] | None
    interval_s: float


@dataclass(frozen=True)
class Claim:
    """``job``: what the backend gave with the ``token``; ``refused``: why it gave nothing."""

    token: str = ""
    job: Mapping[str, Any] | None = None
    refused: str = ""


class PullClient:
    """Asks one backend for jobs; for use by one thread at a time."""

    def __init__(self, url: str, key: SecretStr, agent_id: str) -> None:
        self._url = url
        self._key = key
        self._headers = {
            "Authorization": f"Bearer {key.get_secret_value()}",
            "Accept": "application/json",
            "X-Agent-ID": agent_id,
            "X-Agent-Hostname": socket.gethostname(),
            "X-Agent-Platform": sys.platform,
            "X-Agent-Version": __version__,
        }

    def poll(self) -> Poll:
        """The next job that waits. Raises PullTrouble."""
        code, body = self._call("GET", "poll")
        if code != requests.codes.ok:
            raise PullTrouble(self._sentence(code, body))
        job = body.get("job")
        named = isinstance(job, dict) and isinstance(job.get("id"), str)
        if job is not None and not (named and re.fullmatch(JOB_ID_PATTERN, job["id"])):
            raise PullTrouble("the backend offers a job without a usable id")
        return Poll(job, _interval_s(body.get("poll_interval_seconds")))

    def claim(self, job_id: str) -> Claim:
        """Take a job. Raises PullTrouble if it is not known whether it was given."""
        code, body = self._call("POST", f"claim/{quote(job_id, safe='')}")
        token = body.get("job_token")
        if code == requests.codes.ok and isinstance(token, str) and token:
            job = body.get("job")
            return Claim(token, job if isinstance(job, dict) else None)
        if 400 <= code < 500 and code not in (408, 425, 429):
            return Claim(refused=self._sentence(code, body))
        raise PullTrouble(self._sentence(code, body))

    def _call(self, method: str, what: str) -> tuple[int, dict[str, Any]]:
        with open_session() as session:
            try:
                answer = session.request(
                    method,
                    f"{self._url}/api/training/agent/{what}",
                    headers=self._headers,
                    timeout=TIMEOUT_S,
                    allow_redirects=False,
                    stream=True,
                )
                with answer:
                    content = answer.raw.read(ANSWER_BYTES_MAX, decode_content=True)
            except (requests.RequestException, OSError) as error:
                kind = type(error).__name__
                raise PullTrouble(f"no answer from {self._url} ({kind})") from None
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        return answer.status_code, body if isinstance(body, dict) else {}

    def _sentence(self, code: int, body: Mapping[str, Any]) -> str:
        told = body.get("error") or body.get("message")
        text = f": {told[:300]}" if isinstance(told, str) else ""
        text = text.replace(self._key.get_secret_value(), "[key]")
        return f"{self._url} answers HTTP {code}{text}"


def pull_client(settings: Settings) -> PullClient | None:
    """The client that the settings ask for; None without PULL_URL."""
    if settings.pull_url is None:
        return None
    assert settings.pull_api_key is not None, "the settings ask for both"
    return PullClient(settings.pull_url, settings.pull_api_key, agent_id(settings))


def pull_folder(settings: Settings) -> Path:
    """Where the agent's id and the notes lie, for this user only."""
    path = settings.trainyard_home / "pull"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def agent_id(settings: Settings) -> str:
    """PULL_AGENT_ID, or the one in the home, made at the first call."""
    if settings.pull_agent_id is not None:
        return settings.pull_agent_id
    path = pull_folder(settings) / "agent-id"
    if not path.exists():
        write_atomically(path, f"agent_{secrets.token_hex(8)}\n")
    return path.read_text().strip()


def _interval_s(told: Any) -> float:
    if isinstance(told, bool) or not isinstance(told, int | float) or not math.isfinite(told):
        return INTERVAL_S
    return min(max(INTERVAL_MIN_S, told), INTERVAL_MAX_S)
