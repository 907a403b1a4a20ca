"""Table of docs/settings.md: every setting with its default and meaning."""

from __future__ import annotations

from trainyard.settings import Settings


def as_markdown() -> str:
    """The table; the page around it is written by hand."""
    rows = ["| setting | default | |", "|---|---|---|"]
    defaults = Settings.model_construct()
    for name, field in Settings.model_fields.items():
        default = getattr(defaults, name)
        if isinstance(default, tuple):
            default = ":".join(map(str, default))
        shown = (
            ""
            if default in (None, "")
            else f"`{int(default) if default in (True, False) else default}`"
        )
        rows.append(f"| `{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows) + "\n"
