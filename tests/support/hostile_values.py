"""Hostile values: requests, messages and texts that are wrong in one place or a few, by chance."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

TEXTS = (
    *("", " ", "\x00", "\ud800", "\u202e", "ü" * 300, "a" * 70_000, "../../etc/passwd", "null"),
    *("{{7*7}}", "%s%n", "'; --", "\x1b[31m", "1e999999", "-0", "NaN", "9" * 5000, "http://[::1"),
    *("pause", "start", "resume", "job-1", "2026-13-45T99:99", "__class__", "constructor"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**400), 0.1, -0.0, 1e308),
    *(float("nan"), float("inf"), float("-inf")),
    *([], {}, [[]], [{}], {"": None}, {"a": {"b": {"c": []}}}, [None] * 200, ["x"] * 200),
    *TEXTS,
)


def mutated(chance: random.Random, value: Any) -> Any:
    """A copy of a JSON value with one to four changes somewhere in it."""
    holder = [copy.deepcopy(value)]
    for _ in range(chance.randint(1, 4)):
        _change(chance, holder)
    return holder[0]


def _change(chance: random.Random, holder: list[Any]) -> None:
    at: Any = holder
    key: Any = 0
    while isinstance(at[key], dict | list) and at[key] and chance.random() < 0.8:
        at = at[key]
        key = chance.choice(list(at)) if isinstance(at, dict) else chance.randrange(len(at))
    match chance.randrange(5):
        case 0 if at is not holder:
            del at[key]
        case 1:
            at[key] = [copy.deepcopy(at[key]) for _ in range(chance.choice((1, 2, 50)))]
        case 2:
            for _ in range(chance.choice((1, 5, 60))):
                at[key] = [at[key]] if chance.random() < 0.5 else {"a": at[key]}
        case 3 if isinstance(at, dict):
            at[chance.choice(TEXTS)] = copy.deepcopy(at[key])
        case _:
            at[key] = copy.deepcopy(chance.choice(VALUES))


def as_sent(chance: random.Random, value: Any) -> bytes:
    """``value`` as JSON, and one time in eight with some bytes of it changed."""
    data = bytearray(json.dumps(value).encode())
    if chance.random() < 0.125:
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.randrange(len(data) // 2, len(data)) + 1 :]
    return bytes(data)
