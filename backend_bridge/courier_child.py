"""Courier beside the bridge: started with it, started again when it dies, stopped with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from trainyard.child_process import ChildProcess, python_module
from trainyard.secret_environment import without_others_secrets

COURIER_STOP_TIMEOUT_S = 15.0


@contextlib.asynccontextmanager
async def with_courier(_: FastAPI) -> AsyncIterator[None]:
    """Lifespan of the application."""
    courier = ChildProcess(
        "courier",
        python_module("backend_bridge.courier"),
        environ=without_others_secrets(os.environ),
    )
    courier.start()

    async def watch() -> None:
        while True:
            await asyncio.sleep(1)
            courier.ensure_running()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await run_in_threadpool(courier.stop, COURIER_STOP_TIMEOUT_S)
