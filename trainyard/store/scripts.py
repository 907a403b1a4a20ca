"""Lua scripts of the job store: each runs as one step in Redis.

They lie in ``lua/`` beside this file. Before each goes a head made here (keys, tables of statuses,
so that Python and Lua have one of each), and ``prelude.lua``, the functions that they share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis

from trainyard.contract.events import EVENT_KINDS
from trainyard.contract.statuses import OCCUPYING, REPORTED, TERMINAL
from trainyard.store.counters import BUCKETS_S
from trainyard.store.delivery_state import DELAY_MAX_S
from trainyard.store.keys import GenerationKey, JobKey, Key
from trainyard.store.usage.limits import MONTHS_KEPT, NAMES_MAX, OTHERS

_LUA = Path(__file__).parent / "lua"
_SETS = {"REPORTED": REPORTED, "OCCUPIES": OCCUPYING, "ENDED": TERMINAL}


def head() -> str:
    """The head of every script, the same text each time: Redis knows a script by its text."""
    heard = {name: kind.lane for name, kind in EVENT_KINDS.items() if kind.lane}
    lanes = ", ".join(f"{name} = '{lane}'" for name, lane in heard.items())
    tables = {
        **{key.name: f"'{key}'" for key in Key},
        "PER_JOB": _prefixes(JobKey),
        "PER_GENERATION": _prefixes(GenerationKey),
        **{
            name: f"{{{', '.join(f'{one} = 1' for one in sorted(those))}}}"
            for name, those in _SETS.items()
        },
        "LANE_OF": f"{{{lanes}}}",
        "DELAY_MAX": str(int(1000 * DELAY_MAX_S)),
        "USAGE_NAMES": str(NAMES_MAX),
        "USAGE_OTHERS": f"'{OTHERS}'",
        "USAGE_MONTHS": str(MONTHS_KEPT),
        "USAGE_KEPT_MS": str(MONTHS_KEPT * 31 * 86_400_000),
        "BUCKETS_S": f"{{{', '.join(map(str, BUCKETS_S))}}}",
    }
    return "".join(f"local {name} = {value}\n" for name, value in tables.items())


def _prefixes(kinds: type[JobKey] | type[GenerationKey]) -> str:
    pairs = ", ".join(f"['{kind}'] = '{kind.of('')}'" for kind in kinds)
    return f"{{{pairs}}}"


def script(redis: Redis, name: str) -> Any:
    """The script ``lua/{name}.lua``, to be called with ``keys`` and ``args``."""
    parts = (head(), *((_LUA / f"{part}.lua").read_text() for part in ("prelude", name)))
    return redis.register_script("".join(parts))
