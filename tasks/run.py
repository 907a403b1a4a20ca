"""Run: one attempt as all parts of the training see it, and what its resume goes on from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tasks.channel import Channel
from tasks.checkpoints.resume import Start
from tasks.parking.place import ParkingPlace
from tasks.progress.phases import Phases
from tasks.progress.used_here import UsedHere
from tasks.progress.verdicts import Verdicts
from tasks.ranks.ranks import ALONE, Ranks
from trainyard.contract.config import JobConfig
from trainyard.contract.events import TrainingSpec
from trainyard.contract.request import TrainingRequest


@dataclass
class Run:
    """One attempt in this process.

    ``spec`` names it; after a warm resume it is that of the attempt that goes on. ``request``: as
    admitted, then in the pieces that fit into memory. ``place``: where a paused training waits;
    without one a pause ends the process. ``start``: the verified checkpoint that is gone on from.
    ``verdicts``: what is to be said of the training. ``used``: by the job so far.
    """

    spec: TrainingSpec
    request: TrainingRequest
    channel: Channel
    phases: Phases
    ranks: Ranks = ALONE
    place: ParkingPlace | None = None
    start: Start | None = None
    verdicts: Verdicts = field(init=False)
    used: UsedHere = field(init=False)

    def __post_init__(self) -> None:
        self.verdicts = Verdicts(self.channel)
        self.used = UsedHere(self.spec.usage)

    def go_on_as(self, spec: TrainingSpec) -> None:
        """Another attempt goes on in this process."""
        self.spec, self.used = spec, UsedHere(spec.usage)

    @property
    def config(self) -> JobConfig:
        """What is trained, in the end."""
        return self.request.config

    @property
    def job_dir(self) -> Path:
        """The job's folder."""
        return Path(self.spec.job_dir)

    def train_as(self, config: JobConfig) -> None:
        """Put ``config`` in the place of the request's."""
        self.request = self.request.model_copy(update={"config": config})
