"""Job as the job store holds it, read-only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from trainyard.contract.errors import AttemptError, ErrorReport
from trainyard.contract.events import Warnings
from trainyard.contract.names import attempt_id
from trainyard.contract.statuses import JobStatus
from trainyard.contract.usage.used import Usage
from trainyard.contract.verdicts import Verdict


@dataclass(frozen=True)
class Job:
    """One job. Times are seconds since the epoch by Redis's clock.

    ``cancel`` is ``""``, ``"asked"`` or ``"forced"``. ``progress`` is the latest
    ``contract.Progress``, ``point`` the latest known value of every metric field, the best and the
    first eval. ``checkpoint`` is the latest good one, relative to the job folder on ``home`` (see
    ``trainyard.home``), that of the host ``home_host``; ``origin`` the job there from whose model
    it goes on, ``base_model`` the model that the first of such jobs began with; ``parked`` the
    attempt whose process waits, parked, on the slot ``parked_on``.
    ``group`` is that of the sweep that made it, ``settings`` what it alone has of that. ``held``
    (``"1"``) is one that is not to run before ``not_before``, and before those that it ``awaits``
    have completed.
    ``ran_s`` is how long the attempts before this one held a slot, ``used_before`` what they used;
    ``gpus`` of its slot has the newest, ``energy_j`` has it used by now. ``log_bytes`` and
    ``metric_bytes`` say how much of the job folder's records the stream holds, ``owed_lines`` which
    of its lines train.log still lacks; ``batch`` counts the appends of this attempt. ``step_at`` is
    when its newest step was heard of, ``checkpoint_at`` when its newest checkpoint was.
    A job with ``slip_in`` asks others to make way; ``slips_before``: which attempt it has asked.
    ``make_way``: which attempt of this one is asked, and why, ``way_for``: for which job or
    question; ``made_way``: why it waits again; ``slipped_at``: when it made way for one, within an
    hour, in milliseconds.
    ``divergence`` is the last ``contract.Divergence``, ``warnings`` what the newest attempt says of
    the training.
    """

    job_id: str
    status: JobStatus
    attempt: int
    created_at: float
    updated_at: float
    name: str = ""
    user_id: str = ""
    model: str = ""
    dataset: str = ""
    method: str = ""
    slot: str = ""
    worker: str = ""
    cancel: str = ""
    checkpoint: str = ""
    parked: str = ""
    parked_on: str = ""
    parked_worker: str = ""
    home: str = ""
    home_host: str = ""
    origin: str = ""
    base_model: str = ""
    resume_from: str = ""
    from_start: str = ""
    group: str = ""
    held: str = ""
    not_before: float | None = None
    awaits: Sequence[str] = ()
    slip_in: str = ""
    slips_before: str = ""
    make_way: str = ""
    way_for: str = ""
    made_way: str = ""
    priority: int = 5
    log_bytes: int = 0
    metric_bytes: int = 0
    batch: int = 0
    restarts: int = 0
    slot_losses: int = 0
    put_backs: int = 0
    pauses: int = 0
    ways_made: int = 0
    started_at: float | None = None
    attempt_started_at: float | None = None
    running_since: float | None = None
    step_at: float | None = None
    checkpoint_at: float | None = None
    ran_s: float = 0.0
    used_before: Usage = field(default_factory=Usage)
    gpus: int = 0
    energy_j: float | None = None
    batch_size: int = 0
    completed_at: float | None = None
    error: ErrorReport | None = None
    attempt_errors: Sequence[AttemptError] = ()
    warnings: Sequence[Verdict] = ()
    owed_lines: Sequence[str] = ()
    slipped_at: Sequence[int] = ()
    divergence: Mapping[str, Any] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    point: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def attempt_id(self) -> str:
        return attempt_id(self.job_id, self.attempt)

    @property
    def is_bound(self) -> bool:
        """Only a slot of its home goes on with it: its checkpoints, or its origin, lie there."""
        kept = (self.checkpoint or self.resume_from) and not self.from_start
        return bool(self.home and (self.origin or kept))

    def used(self, now_s: float) -> Usage:
        """By all its attempts until then."""
        return Usage.sum([self.used_before, self.used_here(now_s)])

    def used_here(self, now_s: float) -> Usage:
        """By the attempt that holds a slot, if one does."""
        if self.running_since is None:
            return Usage()
        slot_s, energy_j = max(0.0, now_s - self.running_since), self.energy_j
        metered_s = 0.0 if energy_j is None else slot_s
        gpu_s = slot_s * self.gpus
        return Usage(slot_s=slot_s, gpu_s=gpu_s, metered_s=metered_s, energy_j=energy_j)

    @property
    def is_to_make_way(self) -> bool:
        """Whether this attempt is asked to."""
        return self.make_way.partition(" ")[0] == str(self.attempt)

    def parked_at(self, slot: str) -> str | None:
        """The attempt whose parked process goes on if ``slot`` takes the job; None: cold start.

        A checkpoint that a person has chosen is another state than that of the parked process.
        """
        another_state = self.resume_from or self.from_start
        return self.parked if self.parked_on == slot and self.parked and not another_state else None

    @classmethod
    def from_hash(cls, raw: Mapping[str, str]) -> Job:
        """Read the Redis hash of a job."""

        def seconds(name: str) -> float | None:
            return int(raw[name]) / 1000 if raw.get(name) else None

        rest: dict[str, Any] = {k: raw.get(k, "") for k in _TEXT}
        rest |= {k: int(raw.get(k, 0)) for k in _NUMBERS}
        rest |= {k: json.loads(raw[k]) for k in _DOCUMENTS if k in raw}
        return cls(
            job_id=raw["job_id"],
            status=JobStatus(raw["status"]),
            attempt=int(raw["attempt"]),
            created_at=seconds("created_at") or 0.0,
            updated_at=seconds("updated_at") or 0.0,
            started_at=seconds("started_at"),
            attempt_started_at=seconds("attempt_started_at"),
            running_since=seconds("running_since"),
            step_at=seconds("step_at"),
            checkpoint_at=seconds("checkpoint_at"),
            ran_s=seconds("ran_ms") or 0.0,
            used_before=Usage(
                slot_s=seconds("ran_ms") or 0.0,
                gpu_s=seconds("gpu_ms") or 0.0,
                metered_s=seconds("metered_ms") or 0.0,
                energy_j=seconds("energy_mj") if "metered_ms" in raw else None,
            ),
            energy_j=seconds("attempt_mj"),
            completed_at=seconds("completed_at"),
            not_before=seconds("not_before"),
            awaits=raw.get("awaits", "").split(),
            error=ErrorReport.model_validate_json(raw["error"]) if "error" in raw else None,
            attempt_errors=_ATTEMPT_ERRORS.validate_json(raw.get("attempt_errors", "[]")),
            warnings=Warnings.model_validate_json(raw.get("warnings", _NO_WARNINGS)).warnings,
            **rest,
        )


_TEXT = (
    *("name", "user_id", "model", "dataset", "method", "slot", "worker", "cancel"),
    *("checkpoint", "parked", "parked_on", "parked_worker", "home", "home_host"),
    *("resume_from", "from_start", "origin", "base_model", "held", "group"),
    *("slip_in", "slips_before", "make_way", "way_for", "made_way"),
)
_NUMBERS = (
    *("priority", "restarts", "slot_losses", "put_backs", "pauses", "ways_made"),
    *("log_bytes", "metric_bytes", "batch", "batch_size", "gpus"),
)
_DOCUMENTS = (
    *("progress", "point", "result", "phases", "owed_lines", "divergence", "settings"),
    "slipped_at",
)
_NO_WARNINGS = '{"warnings": []}'
_ATTEMPT_ERRORS = TypeAdapter(list[AttemptError])
