"""Routes about the bridge itself: health, and figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from backend_bridge.api.context import ThisBridge
from backend_bridge.api.error_responses import error_answers
from backend_bridge.api.guards import STRANGER
from backend_bridge.api.monitoring.answers import AliveAnswer, HealthAnswer
from backend_bridge.api.monitoring.figures import exposition
from backend_bridge.api.monitoring.health import reasons
from backend_bridge.api.openapi import TEXT_CONTENT

router = APIRouter(tags=["health"])


@router.get("/health", responses=error_answers(key=False))
def health(bridge: ThisBridge, request: Request) -> HealthAnswer:
    """Whether the yard is well, and if not, why; which slots take jobs, and how many jobs run.

    It is degraded without a worker that takes jobs, with a slot out of service, while Redis takes
    no writes, and when reports are stuck. Whoever sends no key when one is set hears of no
    version, no GPU and, of slots, a number each.
    """
    bridge.check_redis()
    slots = bridge.slots.alive()
    gpus = [gpu for slot in slots for gpu in slot.info.get("gpus", [])]
    names = [slot.name for slot in slots]
    idle = bridge.slots.idle()
    hours = {s.name: s.info["hours"] for s in bridge.slots.present() if s.info.get("hours")}
    stranger = request.scope.get(STRANGER, False)
    if stranger:
        names = [str(number) for number in range(len(names))]
        idle = {str(number): "out of service" for number in range(len(idle))}
    why = [reason.sentence(stranger=stranger) for reason in reasons(bridge)]
    return HealthAnswer(
        status="degraded" if why else "ok",
        reasons=list(dict.fromkeys(why)),
        gpu_available=bool(gpus),
        gpu_info=None if stranger else gpus or None,
        active_jobs=bridge.store.occupying_count(),
        queued_jobs=bridge.store.waiting_count(),
        slots=names,
        slots_out_of_service=idle,
        slot_hours={} if stranger else hours,
        version="" if stranger else request.app.version,
    )


@router.get("/health/live", responses=error_answers(key=False))
async def live() -> AliveAnswer:
    """Whether this process answers, whatever it depends on does: to be restarted if it does not."""
    return AliveAnswer()


@router.get("/health/ready", responses=error_answers(key=False))
def ready(bridge: ThisBridge) -> AliveAnswer:
    """Whether a request would be taken: Redis answers and takes writes, else 503 with the reason.

    A yard without a worker takes requests; of workers and reports `/health` tells.
    """
    bridge.check_redis()
    bridge.check_writes()
    return AliveAnswer()


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus's text format.", "content": TEXT_CONTENT},
        **error_answers(),
    },
)
def prometheus(bridge: ThisBridge) -> Response:
    """Figures for Prometheus: jobs, waits, runs, restarts, deliveries, slots, GPUs."""
    return Response(exposition(bridge), media_type=CONTENT_TYPE_PLAIN_0_0_4)
