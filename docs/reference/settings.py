"""Table of docs/settings.md: every setting with its default and meaning."""

from __future__ import annotations

from trainyard.setting_parts.sharing import SharingSettings
from trainyard.settings import Settings


def as_markdown() -> str:
    """The table; the page around it is written by hand."""
    rows = ["| setting | default | |", "|---|---|---|"]
    defaults = Settings.model_construct()
    inherited = SharingSettings.model_fields
    for name, field in sorted(Settings.model_fields.items(), key=lambda one: one[0] in inherited):
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
