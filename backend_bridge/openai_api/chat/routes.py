"""Route of OpenAI's chat completions, with streams: ``/v1/chat/completions`` of a trained model.

It runs on a slot, and never beside a training: until one is free, or makes way, it waits. When the
client leaves, it ends.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse

from backend_bridge.api.context import Bridge, ThisBridge
from backend_bridge.api.generation.conversation import STILL_HERE, Generation
from backend_bridge.api.generation.routes import admit
from backend_bridge.api.openapi import EVENT_STREAM
from backend_bridge.api.request_body import optional_body
from backend_bridge.openai_api.chat.asked import ChatBody
from backend_bridge.openai_api.errors import ApiRefusal, error_object
from backend_bridge.openai_api.model_names import base_models, tuned_model
from backend_bridge.openai_api.model_routes import no_such_model
from trainyard.contract.generation.messages import Done, NotGenerated, Reason, TextPiece
from trainyard.scheduling.generations import TooManyWait

router = APIRouter(prefix="/chat")
_FINISH_OF: dict[Reason, str] = {
    "stop": "stop",
    "length": "length",
    "deadline": "length",
    "cancelled": "stop",
}


@router.post("/completions", response_class=Response)
async def complete(bridge: ThisBridge, request: Request) -> Response:
    """Answer with a fine-tuned model, as a whole or in pieces."""
    asked = await optional_body(request, ChatBody)
    completion = Completion(asked)
    generation = await run_in_threadpool(_admit, bridge, asked)
    if asked.stream:
        return StreamingResponse(completion.stream(generation), media_type=EVENT_STREAM)
    return JSONResponse(await completion.whole(generation, request))


def _admit(bridge: Bridge, asked: ChatBody) -> Generation:
    of = tuned_model(asked.model)
    if of is None and asked.model in base_models(bridge.settings.model_roots):
        raise ApiRefusal(400, f"{asked.model!r} is a base model: ask one made of it", param="model")
    if of is None or bridge.store.get(of.job_id) is None:
        raise no_such_model(asked.model)
    try:
        return admit(bridge, of.job_id, asked.question(of))
    except TooManyWait as error:
        raise ApiRefusal(429, str(error)) from None


class Completion:
    """One answer, in OpenAI's words."""

    def __init__(self, asked: ChatBody) -> None:
        self._wants_usage = asked.wants_usage
        self._facts = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": asked.model,
        }

    async def whole(self, generation: Generation, request: Request) -> dict[str, Any]:
        """``chat.completion``. Raises ApiRefusal if nothing came, or nobody waits any more."""
        text = ""
        async with aclosing(generation.said()) as said:
            async for one in said:
                if isinstance(one, TextPiece):
                    text += one.text
                elif isinstance(one, Done):
                    message = {"role": "assistant", "content": text, "refusal": None}
                    choice = {
                        "index": 0,
                        "message": message,
                        "finish_reason": _FINISH_OF[one.reason],
                    }
                    return {
                        **self._facts,
                        "object": "chat.completion",
                        "choices": [{**choice, "logprobs": None}],
                        "usage": _usage(one),
                    }
                elif isinstance(one, NotGenerated):
                    raise ApiRefusal(503, _reason(one))
                elif await request.is_disconnected():
                    break
        raise HTTPException(400, "the client left before its answer was there")

    async def stream(self, generation: Generation) -> AsyncIterator[str]:
        """Chunks as server-sent events, and ``[DONE]``."""
        yield self._chunk({"role": "assistant", "content": ""})
        async with aclosing(generation.said()) as said:
            async for one in said:
                if isinstance(one, TextPiece):
                    yield self._chunk({"content": one.text})
                elif isinstance(one, Done):
                    yield self._chunk({}, _FINISH_OF[one.reason])
                    if self._wants_usage:
                        yield self._event({"choices": [], "usage": _usage(one)})
                elif isinstance(one, NotGenerated):
                    yield f"data: {json.dumps(error_object(503, _reason(one)))}\n\n"
                elif one is None:
                    yield STILL_HERE
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        more = {"usage": None} if self._wants_usage else {}
        return self._event({"choices": [choice], **more})

    def _event(self, what: dict[str, Any]) -> str:
        chunk = {**self._facts, "object": "chat.completion.chunk", **what}
        return f"data: {json.dumps(chunk)}\n\n"


def _reason(failed: NotGenerated) -> str:
    return f"{failed.error} {failed.hint}".strip()


def _usage(done: Done) -> dict[str, int]:
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
    }
