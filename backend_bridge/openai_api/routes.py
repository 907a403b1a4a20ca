"""Routes of OpenAI's API, below ``/v1``: files, fine-tunings, models, chat completions.

They are not in the bridge's own OpenAPI document: they have one of their own (``description``).
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from backend_bridge.openai_api import file_routes, job_routes, model_routes
from backend_bridge.openai_api.chat import routes as chat_routes
from backend_bridge.openai_api.errors import PREFIX, ApiRefusal, TheirErrors, answer_refusal

router = APIRouter(prefix=PREFIX, include_in_schema=False)
ROUTERS = tuple(routes.router for routes in (file_routes, job_routes, model_routes, chat_routes))
for each in ROUTERS:
    router.include_router(each)


def add_routes(app: FastAPI) -> None:
    """Add the routes; to be called after the guards, whose refusals get OpenAI's form too."""
    app.add_exception_handler(ApiRefusal, answer_refusal)
    app.add_middleware(TheirErrors)
    app.include_router(router)
