"""What a sender holds of a job: entries of its stream, and the claim with how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import SecretStr

from trainyard.store.event_log import entry_position


@dataclass
class Claim:
    """A job that this sender holds.

    ``state`` is the delivery hash: ``cursor`` (every entry up to it is handled),
    ``ahead_{kind}`` (those of this kind are handled up to it, beyond the cursor),
    ``later_{kind}`` (ms of Redis's clock until which that kind is not tried), ``missing_{kind}``
    (its route was missing), ``next_line`` (number of the next log line), ``gap`` (a line about cut
    lines that is under way, JSON), ``batch_to`` (the next request holds the lines up to here),
    ``failures_{kind}`` and ``access_failures`` (in a row), ``written_{kind}`` and ``done_{kind}``
    (how many entries were written, and how many delivered or set aside), ``ended_attempt`` (the
    last attempt whose terminal status was delivered), ``last_error``. Change it with :meth:`put`;
    it is stored by the next call of :class:`Outbox`.
    """

    job_id: str
    holder: str
    token: SecretStr | None
    state: dict[str, str]
    now_ms: int
    held_until: float
    """time.monotonic() until which no other sender can take the job."""
    last_status: str
    """Stream id of the newest status."""
    changed: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, value: str | int) -> None:
        """Set a field of the state; '' stands for absent."""
        if self.state.get(name, "") != str(value):
            self.state[name] = self.changed[name] = str(value)

    def number(self, name: str) -> int:
        """A field of the state as an int; 0 where it is absent."""
        return int(self.state.get(name) or 0)

    def position(self, name: str) -> tuple[int, int]:
        """A field of the state that holds an entry id, as numbers."""
        return entry_position(self.state.get(name) or "0-0")
