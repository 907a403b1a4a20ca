"""Page docs/training-settings.md, made from the table of settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from tasks.arguments.table import RLHF_ARGUMENTS, TABLE, Setting
from trainyard.contract.config import JobConfig
from trainyard.contract.fields.refused import REFUSED
from trainyard.contract.fields.spellings import other_spellings
from trainyard.contract.methods import names

_HEAD = """# Settings of a training

Made from `tasks/arguments/table.py`; a test compares. Every setting of a request's `config` has one
row. It is **applied** (an argument of the installed Trainer, or what it does), **adjusted** if
the machine cannot do it (the job's log names it with the reason), or **ignored** (named in the log
with the reason). What is in no row is named in the answer and in the log as ignored, with what may
be meant. A field that would train another model is refused instead, with the reason:
`REFUSED_NAMES`. If the normalised name and another spelling differ, the normalised name wins and
the log says so.

| `config.` | other spellings | default | becomes | methods | since |
|---|---|---|---|---|---|
"""


def as_markdown() -> str:
    """The page, with a row for every setting."""
    spellings = other_spellings()
    head = _HEAD.replace("`REFUSED_NAMES`", ", ".join(f"`{name}`" for name in sorted(REFUSED)))
    return head + "".join(_row(setting, spellings.get(setting.path, ())) for setting in TABLE)


def _row(setting: Setting, spellings: Sequence[str]) -> str:
    cells = (
        f"`{setting.path}`",
        ", ".join(f"`{spelling}`" for spelling in spellings),
        _default(setting),
        _becomes(setting),
        "all" if setting.methods == names() else ", ".join(setting.methods),
        setting.since,
    )
    return "| " + " | ".join(cells) + " |\n"


def _default(setting: Setting) -> str:
    value = setting.default
    model: Any = JobConfig
    for name in setting.path.split("."):
        field = model.model_fields[name]
        if value is None and not field.is_required():
            given = field.get_default(call_default_factory=True)
            value = None if isinstance(given, BaseModel) else given
        options = (field.annotation, *getattr(field.annotation, "__args__", ()))
        model = next((a for a in options if isinstance(a, type) and issubclass(a, BaseModel)), None)
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if text else ""


def _becomes(setting: Setting) -> str:
    if setting.ignored:
        return f"ignored: {setting.ignored}"
    if setting.path == "training.rlhf":
        arguments = ", ".join(f"`{name}`" for name in RLHF_ARGUMENTS.values())
        return f"{setting.used_by}; {arguments}"
    if setting.used_by:
        return setting.used_by
    return f"`{setting.argument}`" + (f"; {setting.note}" if setting.note else "")
