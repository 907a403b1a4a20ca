"""Settings of how jobs share the GPUs, for all the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from trainyard.setting_parts.active_hours import ActiveHours


def _hours(value: str) -> str:
    return ActiveHours.parse(value).text


class SharingSettings(BaseModel):
    """Who gets a slot, and when."""

    active_hours: Annotated[str, AfterValidator(_hours)] | None = Field(
        None,
        description="When this machine's slots take jobs (`22:00-08:00 Europe/Berlin`; without a "
        "time zone the machine's own): what runs at the end makes way, and goes on by itself. "
        "Unset: always.",
    )
    slip_ins_per_hour: Annotated[int, Field(ge=0, le=100_000)] = Field(
        4,
        description="How often an hour a running job makes way for short ones that ask for it "
        "(`slip_in`) and for questions to a model; 0: never.",
    )

    @property
    def hours(self) -> ActiveHours | None:
        """The active hours, read; None: always."""
        return None if self.active_hours is None else ActiveHours.parse(self.active_hours)
