"""Server of the development backend, until SIGTERM or SIGINT.

python -m backend_bridge.dev_backend
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from backend_bridge.api.guards import is_loopback
from backend_bridge.dev_backend.app import create_app
from backend_bridge.dev_backend.bridge_link import BridgeLink
from backend_bridge.dev_backend.database import Database
from backend_bridge.dev_backend.feed import Feed
from trainyard.home import keep_private
from trainyard.service_logs import log_to_stderr
from trainyard.settings import settings

GRACE_S = 3
"""How long requests may go on after the signal to stop."""


class Server(uvicorn.Server):
    """uvicorn, which would wait for event streams: they end when the signal comes."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal; returns then, though uvicorn raises the signal again."""
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, _ignore)
        super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking requests, and end the streams."""
        super().handle_exit(sig, frame)
        self._feed.close()


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line; each option's default comes from the environment."""
    home = Path(os.environ.get("TRAINYARD_HOME", "var"))
    environ = os.environ.get
    parser = argparse.ArgumentParser(
        prog="python -m backend_bridge.dev_backend",
        description="A backend of the contract on SQLite, with a page of live curves.",
    )
    parser.add_argument(
        "--host", default=environ("DEV_BACKEND_HOST", "127.0.0.1"), help="DEV_BACKEND_HOST"
    )
    parser.add_argument(
        "--port", type=int, default=environ("DEV_BACKEND_PORT", "3000"), help="DEV_BACKEND_PORT"
    )
    parser.add_argument(
        "--database",
        type=Path,
        default=environ("DEV_BACKEND_DATABASE", str(home / "dev_backend.sqlite3")),
        help="DEV_BACKEND_DATABASE",
    )
    parser.add_argument(
        "--published-on",
        default=environ("DEV_BACKEND_PUBLISHED_ON"),
        help="in a container: the host's address that the port is published on; "
        "DEV_BACKEND_PUBLISHED_ON",
    )
    parser.add_argument(
        "--bridge-url",
        default=environ("BRIDGE_URL"),
        help="what the buttons and live progress ask, with BRIDGE_API_KEY; BRIDGE_URL",
    )
    parser.add_argument(
        "--bridge-link",
        default=environ("BRIDGE_LINK"),
        help="the bridge's address for a browser, if that is another one; BRIDGE_LINK",
    )
    parser.add_argument(
        "--without-optional-routes",
        action="store_true",
        default=environ("DEV_BACKEND_WITHOUT_OPTIONAL_ROUTES") == "1",
        help="lack what a backend may lack; DEV_BACKEND_WITHOUT_OPTIONAL_ROUTES=1",
    )
    parser.add_argument(
        "--poll-interval",
        type=float,
        default=environ("DEV_BACKEND_POLL_INTERVAL", "10"),
        help="seconds between two questions of a worker that fetches its jobs with the key "
        "PULL_API_KEY; DEV_BACKEND_POLL_INTERVAL",
    )
    return parser.parse_args(arguments)


def application(options: argparse.Namespace, database: Database, feed: Feed) -> ASGIApp:
    """The application as the command line asks for it."""
    return create_app(
        database,
        feed,
        bridge=BridgeLink(
            options.bridge_url, os.environ.get("BRIDGE_API_KEY"), settings().trainyard_home
        ),
        bridge_link=options.bridge_link,
        loopback_only=is_loopback(options.published_on or options.host),
        short_names=options.published_on is not None,
        has_optional_routes=not options.without_optional_routes,
        agent_key=os.environ.get("PULL_API_KEY"),
        poll_interval_s=options.poll_interval,
    )


def configuration(app: ASGIApp, options: argparse.Namespace, **more: Any) -> uvicorn.Config:
    """How uvicorn serves it; ``more`` are options of uvicorn's."""
    return uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        ws="none",
        lifespan="off",
        log_level="warning",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        **more,
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve; returns 0 after a signal, and exits with 1 if the port is taken."""
    keep_private()
    log_to_stderr("backend")
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    reached_at = options.published_on or options.host
    if not is_loopback(reached_at):
        print(f"Anyone who reaches {reached_at}:{options.port} can act on jobs and read logs.")
    feed = Feed()
    with closing(Database(options.database)) as database:
        config = configuration(application(options, database, feed), options)
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"Development backend on http://{host}:{options.port}", flush=True)
        Server(config, feed).run()
    return 0


def _ignore(signum: int, frame: FrameType | None) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
