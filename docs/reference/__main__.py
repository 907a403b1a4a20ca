"""Reference documents that are made from code.

python -m docs.reference      writes them; a test compares
"""

from __future__ import annotations

import json
from pathlib import Path

from backend_bridge.openai_api import description
from backend_bridge.openai_api.routes import ROUTERS
from backend_bridge.server import make_app
from docs.reference import commands, errors, events, memory, metrics, templates, training_settings
from trainyard.settings import read_settings

ROOT = Path(__file__).parents[2]


def openapi() -> str:
    """docs/openapi/bridge.json; asks no Redis."""
    app = make_app(read_settings(redis_url="redis://127.0.0.1"))
    return json.dumps(app.openapi(), indent=1, sort_keys=True) + "\n"


def openai() -> str:
    """docs/openapi/openai.json."""
    return json.dumps(description.document(ROUTERS), indent=1, sort_keys=True) + "\n"


DOCUMENTS = {
    "docs/openapi/bridge.json": openapi,
    "docs/openapi/openai.json": openai,
    "docs/errors.md": errors.as_markdown,
    "docs/commands.md": commands.as_markdown,
    "docs/events.md": events.as_markdown,
    "docs/memory.md": memory.as_markdown,
    "docs/metrics.md": metrics.as_markdown,
    "docs/reference/templates.md": templates.as_markdown,
    "docs/training-settings.md": training_settings.as_markdown,
}


def main() -> None:
    for path, make in DOCUMENTS.items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(make())
        print(path)


if __name__ == "__main__":
    main()
