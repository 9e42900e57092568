"""What a run will take, sample by sample and stage by stage, before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parafovea.chain.cost import Rates
from parafovea.chain.stage import Stage
from parafovea.config import Project
from parafovea.kinds.kind import kind_named
from parafovea.kinds.stages import sample_stages
from parafovea.planning.advice import advice
from parafovea.planning.amplification import Amplification
from parafovea.planning.reference_rates import cost
from parafovea.planning.work import TileWork, Work, work_of


@dataclass(frozen=True, slots=True)
class StageForecast:
    """What one stage of a sample takes.

    Parameters
    ----------
    stage : Stage
        Its declaration.
    jobs : int
        How many there are.
    seconds : float
        Of one job.
    memory : float
        Bytes of one job, at its peak.
    disk : int
        Bytes that all of them store, before compression.
    """

    stage: Stage
    jobs: int
    seconds: float
    memory: float
    disk: int

    @property
    def total_seconds(self) -> float:
        """Of all jobs, one after the other."""
        return self.jobs * self.seconds


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a sample takes.

    Parameters
    ----------
    sample : str
        Name in the sheet.
    work : Work or TileWork
        Its size.
    stages : tuple of StageForecast
        In the order in which they run.
    amplification : Amplification
        How often its windows compute and read a voxel, for each view; of tiles, a pixel.
    advice : tuple of str
        What is wasteful, with the better setting.
    """

    sample: str
    work: Work | TileWork
    stages: tuple[StageForecast, ...]
    amplification: Amplification
    advice: tuple[str, ...]

    def seconds(self, *, gpu: bool) -> float:
        """Return the seconds of all jobs that ask for a GPU, or of all that do not."""
        return sum(s.total_seconds for s in self.stages if (s.stage.device == "gpu") == gpu)

    @property
    def disk(self) -> int:
        """Bytes that the sample's results take, before compression."""
        return sum(stage.disk for stage in self.stages)

    @property
    def largest(self) -> StageForecast:
        """The stage whose jobs need the most memory."""
        return max(self.stages, key=lambda stage: stage.memory)


def forecast(sample: str, work: Work | TileWork, rates: Rates | None = None) -> Forecast:
    """Return what a sample takes.

    Parameters
    ----------
    sample : str
        Its name.
    work : Work or TileWork
        Its size.
    rates : Rates, optional
        Of its model, measured; those of two CPU cores by default.
    """
    inference = work.inference.model_copy(update={"shards": work.shards})
    stages = []
    for stage in sample_stages(kind_named(work.recipe.kind), work.layout_name):
        jobs = len(stage.jobs(work.recipe, inference))
        if jobs:
            taken = cost(stage, work, rates)
            stages.append(
                StageForecast(stage, jobs, taken.seconds, taken.memory, stage.stored(work))
            )
    return Forecast(sample, work, tuple(stages), work.amplification, tuple(advice(work, rates)))


def forecasts(
    project: Project, samples: tuple[str, ...], rates: Mapping[str, Rates]
) -> tuple[Forecast, ...]:
    """Return what some samples of a project take, with the rates of their models, by folder."""
    return tuple(
        forecast(name, work_of(project, name), rates.get(project.task(name).model))
        for name in samples
    )
