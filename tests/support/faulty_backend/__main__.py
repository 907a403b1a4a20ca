"""Faulty backend: the development backend's application and server, with faults and a record.

    python -m tests.support.faulty_backend      takes the development backend's options

From the outside in: record of requests, faults, application; so a request that meets a fault is
recorded as well.
"""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query
from starlette.types import ASGIApp

from backend_bridge.dev_backend.__main__ import Server, application, configuration, parse_arguments
from backend_bridge.dev_backend.database import Database
from backend_bridge.dev_backend.feed import Feed
from tests.support.faulty_backend.faults import Connections, Fault, Faults, Misbehaviour
from tests.support.faulty_backend.recording import Recorder, RequestLog


class FaultyServer(Server):
    """A server that can refuse connections for a while."""

    def __init__(self, config: uvicorn.Config, feed: Feed, connections: Connections) -> None:
        super().__init__(config, feed)
        connections.listener = self

    def stop_listening(self) -> None:
        """Refuse whoever connects."""
        for server in self.servers:
            server.close()

    async def listen_again(self) -> None:
        """Take connections on the same address, unless the signal to stop came meanwhile."""
        if not self.should_exit:
            await self.startup()


def faulty(app: ASGIApp, log: RequestLog, connections: Connections) -> FastAPI:
    """``app``, with what the tests ask of it: ``/api/dev/requests`` and ``/api/dev/faults``."""
    faults = Faults()
    outer = FastAPI(openapi_url=None)

    @outer.get("/api/dev/requests")
    def read_requests(
        job_id: str | None = None,
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        limit: Annotated[int, Query(ge=1, le=100_000)] = 1_000,
    ) -> dict[str, Any]:
        return {"requests": log.read(job_id, after, limit)}

    @outer.get("/api/dev/faults")
    async def read_faults() -> dict[str, Any]:
        return {"faults": faults.describe()}

    @outer.post("/api/dev/faults")
    async def add_fault(fault: Fault) -> dict[str, Any]:
        faults.add(fault)
        return {"faults": faults.describe()}

    @outer.delete("/api/dev/faults")
    async def clear_faults() -> dict[str, Any]:
        faults.clear()
        return {"faults": []}

    outer.mount("/", Recorder(Misbehaviour(app, faults, connections), log))
    return outer


def main() -> None:
    """Serve until SIGTERM or SIGINT; the record lies beside the database."""
    options = parse_arguments(sys.argv[1:])
    feed, connections = Feed(), Connections()
    with (
        closing(Database(options.database)) as database,
        closing(RequestLog(options.database.with_name("requests.sqlite3"))) as log,
    ):
        app = faulty(application(options, database, feed), log, connections)
        config = configuration(app, options, http=connections.protocol())
        FaultyServer(config, feed, connections).run()


if __name__ == "__main__":
    main()
