"""Lua scripts of the job store: each runs as one step in Redis.

They lie in ``lua/`` beside this file; ``prelude.lua`` goes before each that names jobs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis

_LUA = Path(__file__).parent / "lua"


def script(redis: Redis, name: str, *, prelude: bool = True) -> Any:
    """The script ``lua/{name}.lua``, to be called with ``keys`` and ``args``."""
    text = (_LUA / f"{name}.lua").read_text()
    return redis.register_script((_LUA / "prelude.lua").read_text() + text if prelude else text)
