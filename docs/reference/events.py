"""Page docs/events.md: the entries of a job's event stream, from the contract's models."""

from __future__ import annotations

import inspect
import json
from typing import Any, get_args

from backend_bridge.delivery.messages import LANE_OF_KIND
from trainyard.contract.events import EVENT_KINDS, Event
from trainyard.contract.statuses import BackendStatus

_HEAD = """# Events of a job

What happens to a job is one entry each of the Redis stream `trainyard:events:{{job_id}}`, in order.
The couriers deliver {reported} to the backend ([when and how](reporting.md)); the
others are for whoever reads the stream.

| field of an entry | what |
|---|---|
| `kind` | one of those below |
| `attempt` | the run of the job that wrote it; 0 for a request that was refused |
| `sequence` | counts the events; `{{job_id}}:{{attempt}}:{{sequence}}` is its `Idempotency-Key` |
| `data` | JSON, as below |
| `first_line` | of `log` only: the number of its first line, from 0 |

## `status`

The backend is to hear of a change of state.

| field | type | default |
|---|---|---|
| `status` | {statuses} | |
| `error` | string or null | `null` |

## `log`

`data` is a list of lines, as the training printed them.
"""

_WITHIN = """
# Between a training and its supervisor

These come only over the training's socket, and are in no stream.
"""


def as_markdown() -> str:
    """The page, with a section for every kind of event."""
    models = {name: kind.model for name, kind in EVENT_KINDS.items() if kind.model is not None}
    stored = [name for name in models if EVENT_KINDS[name].stored]
    within = [name for name in models if not EVENT_KINDS[name].stored]
    reported = ", ".join(f"`{kind}`" for kind in LANE_OF_KIND)
    statuses = ", ".join(f"`{status}`" for status in get_args(BackendStatus))
    head = _HEAD.format(reported=reported, statuses=statuses)
    sections = "".join(_section(kind, models[kind]) for kind in stored)
    return head + sections + _WITHIN + "".join(_section(kind, models[kind]) for kind in within)


def _section(kind: str, model: type[Event]) -> str:
    text = inspect.cleandoc(model.__doc__ or "").replace("``", "`")
    schema = model.model_json_schema()
    rows = "".join(
        f"| `{name}` | {_type(field, schema)} | {_default(name, schema)} |\n"
        for name, field in schema["properties"].items()
        if name != "event"
    )
    return f"\n## `{kind}`\n\n{text}\n\n| field | type | default |\n|---|---|---|\n{rows}"


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one, schema) for one in field["anyOf"])
    if "$ref" in field:
        named = schema["$defs"][field["$ref"].rpartition("/")[2]]
        return _type(named, schema) if "enum" in named else f"object: {_names(named)}"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'], schema)}"
    return str(field["type"])


def _names(named: dict[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in named["properties"])


def _default(name: str, schema: dict[str, Any]) -> str:
    if name in schema.get("required", ()):
        return ""
    default = schema["properties"][name].get("default")
    return f"`{json.dumps(default)}`"
