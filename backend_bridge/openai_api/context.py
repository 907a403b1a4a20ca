"""Dependency of the routes: the fine-tunings that they work with."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from backend_bridge.api.context import ThisBridge
from backend_bridge.openai_api.jobs import Tuning


async def _tuning(bridge: ThisBridge) -> Tuning:
    return Tuning(bridge)


ThisTuning = Annotated[Tuning, Depends(_tuning)]
"""Of a route's parameter ``tuning``."""
