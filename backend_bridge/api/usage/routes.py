"""Route of what was used in a month."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query

from backend_bridge.api.context import ThisBridge
from backend_bridge.api.error_responses import error_answers
from backend_bridge.api.usage.answers import UsageAnswer, UsageFigures, UsageRow
from trainyard.contract.usage.used import Usage
from trainyard.store.usage.months import MONTH_PATTERN, By, month_now, read_month

router = APIRouter(tags=["usage"])


@router.get("/usage", responses=error_answers(422))
def usage(
    bridge: ThisBridge,
    month: Annotated[str | None, Query(pattern=MONTH_PATTERN)] = None,
    by: Annotated[By | None, Query()] = None,
) -> UsageAnswer:
    """Hours, energy and cost of a month (UTC; this one by default), of all or by user, model, slot.

    The sums outlive the jobs. ``-`` is who has no name. The cost is by the prices as they are now.
    """
    month, at = month or month_now(bridge.redis), bridge.prices
    sums = read_month(bridge.redis, month)
    rows = read_month(bridge.redis, month, by) if by else []
    now_s = time.time()
    runs = [job.used_here(now_s) for job in bridge.store.jobs(bridge.store.occupying())]
    return UsageAnswer(
        month=month,
        by=by,
        rows=[UsageRow.of(row, at) for row in rows],
        attempts=sum(one.attempts for one in sums),
        total=UsageFigures.of(Usage.sum(one.used for one in sums), at),
        running=UsageFigures.of(Usage.sum(runs), at),
    )
