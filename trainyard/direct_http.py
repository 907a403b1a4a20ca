"""HTTP to the services of a yard and to its backend, past every proxy and ``.netrc``.

``HTTP_PROXY`` is for the hosts beyond: asked for 127.0.0.1, a proxy means its own machine. The
couriers' posts to the backend take the same way (``backend_bridge.delivery.backend_client``).
"""

from __future__ import annotations

from typing import Any

import requests


def open_session() -> requests.Session:
    """A session that goes straight to whom it calls."""
    session = requests.Session()
    session.trust_env = False
    return session


def call(method: str, url: str, *, timeout_s: float, **arguments: Any) -> requests.Response:
    """One request; its redirects are answers too. Raises requests.RequestException."""
    with open_session() as session:
        return session.request(method, url, timeout=timeout_s, allow_redirects=False, **arguments)
