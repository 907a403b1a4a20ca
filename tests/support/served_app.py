"""An application served on loopback by a thread, as the bridge is: with deadlines for requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from backend_bridge.api.slow_clients import RequestDeadline
from tests.support.ports import free_port


@contextmanager
def served(app: Any) -> Iterator[int]:
    """The port of ``app`` while it is served."""
    port = free_port()
    config = uvicorn.Config(app, port=port, http=RequestDeadline, ws="none", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join()
