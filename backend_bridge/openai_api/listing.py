"""Lists as OpenAI's clients page through them: ``after`` an id, ``has_more``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from backend_bridge.openai_api.errors import ApiRefusal

Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=200)]
Listing = dict[str, Any]


def listing(found: Sequence[dict[str, Any]], limit: int) -> Listing:
    """The first ``limit`` of ``found``, which has one more if there are more."""
    data = list(found[:limit])
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
    }


def following(found: Sequence[dict[str, Any]], after: str | None) -> Sequence[dict[str, Any]]:
    """What comes after the object of that id. Raises ApiRefusal if it is not there."""
    if after is None:
        return found
    places = [place for place, one in enumerate(found) if one["id"] == after]
    if not places:
        raise no_such_cursor(after)
    return found[places[0] + 1 :]


def no_such_cursor(after: str) -> ApiRefusal:
    """Of an ``after`` that names nothing."""
    return ApiRefusal(400, f"there is no {after!r} to go on after", param="after")
