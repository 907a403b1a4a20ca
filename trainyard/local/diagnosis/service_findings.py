"""Findings about what answers over HTTP: the backend and the bridge."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from trainyard.direct_http import call
from trainyard.local.diagnosis.finding import Absence, Finding, clock_finding
from trainyard.local.ports import holder
from trainyard.settings import Settings

HTTP_TIMEOUT_S = 5.0
_WHERE = "or set BRIDGE_HOST and BRIDGE_PORT to where it is"


def backend_findings(settings: Settings) -> Iterator[Finding]:
    url = settings.backend_url
    try:
        answer = call("GET", url, timeout_s=HTTP_TIMEOUT_S)
    except requests.RequestException as error:
        yield Finding(
            "backend",
            "failure",
            f"No backend answers at {url} ({type(error).__name__}); reports wait for it.",
            "Start it, or set BACKEND_URL to where it is.",
        )
        return
    if answer.status_code >= requests.codes.server_error:
        mend = "Look into the backend's own log."
        yield Finding("backend", "warning", f"{url} answers {answer.status_code}.", mend)
    else:
        yield Finding("backend", "ok", f"The backend answers at {url}.")
    try:
        yield clock_finding(
            "the backend", parsedate_to_datetime(answer.headers["Date"]).timestamp()
        )
    except (KeyError, ValueError):
        yield Finding("clocks", "ok", "The backend does not tell its time.")


def bridge_findings(settings: Settings, *, redis_is_well: bool) -> Iterator[Finding]:
    """Who answers at the bridge's address, and in its own sentence what it lacks."""
    url, key = settings.bridge_url, settings.bridge_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        answer = call("GET", f"{url}/health", timeout_s=HTTP_TIMEOUT_S, headers=headers)
    except requests.ConnectionError as error:
        sentence = f"No bridge answers at {url} ({type(error).__name__})."
        yield Absence("bridge", "failure", sentence, f"Start it with `trainyard up`, {_WHERE}.")
        return
    except requests.RequestException:
        sentence = f"Nothing answers at {url} within {HTTP_TIMEOUT_S:g} s, though {_holds(url)}."
        yield Finding("bridge", "failure", sentence, f"See its log, or end it, {_WHERE}.")
        return
    said = _object(answer)
    if answer.ok and "slots_out_of_service" in said:
        version = f" {said['version']}" if said.get("version") else ""
        yield Finding("bridge", "ok", f"The bridge{version} answers at {url}.")
        if settings.redis_url is None and not settings.embedded_redis_url_file.exists():
            here = settings.trainyard_home.absolute()
            sentence = f"A yard is up at {url}, whose home is elsewhere: TRAINYARD_HOME is {here}."
            mend = "Run this in the folder of that yard, or set TRAINYARD_HOME to its home."
            yield Finding("home", "failure", sentence, mend)
    elif not isinstance(said.get("error"), str) or "detail" not in said:
        sentence = f"What answers at {url} is no bridge: {_holds(url)}."
        yield Finding("bridge", "failure", sentence, f"End that, {_WHERE}.")
    elif answer.status_code == requests.codes.unavailable and not redis_is_well:
        yield Finding("bridge", "ok", f"The bridge runs at {url}; it says: {said['error']}.")
    else:
        mend = "Its REDIS_URL, BRIDGE_API_KEY and log are to be compared with these settings."
        yield Finding("bridge", "failure", f"The bridge at {url} says: {said['error']}.", mend)


def _holds(url: str) -> str:
    port = urlsplit(url).port
    return f"port {port} is held by {holder(port)}" if port else "somebody listens there"


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        body: Any = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
