"""Forecast of a run by sample and stage."""

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
    """Forecast of one stage of a sample.

    Parameters
    ----------
    stage : Stage
        Declaration of the stage.
    jobs : int
        Number of jobs.
    seconds : float
        Time of one job.
    memory : float
        Peak memory of one job in bytes.
    disk : int
        Bytes that all jobs store, before compression.
    """

    stage: Stage
    jobs: int
    seconds: float
    memory: float
    disk: int

    @property
    def total_seconds(self) -> float:
        """Total time of all jobs."""
        return self.jobs * self.seconds


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecast of a sample.

    Parameters
    ----------
    sample : str
        Name in the sheet.
    work : Work or TileWork
        Size of the sample.
    stages : tuple of StageForecast
        In execution order.
    amplification : Amplification
        How often its windows compute and read a voxel (of tiles, a pixel) in each view.
    advice : tuple of str
        Wasteful settings, with better values.
    """

    sample: str
    work: Work | TileWork
    stages: tuple[StageForecast, ...]
    amplification: Amplification
    advice: tuple[str, ...]

    def seconds(self, *, gpu: bool) -> float:
        """Return the seconds of all jobs with, or without, a GPU."""
        return sum(s.total_seconds for s in self.stages if (s.stage.device == "gpu") == gpu)

    @property
    def disk(self) -> int:
        """Bytes of the sample's results, before compression."""
        return sum(stage.disk for stage in self.stages)

    @property
    def largest(self) -> StageForecast:
        """The stage with the largest memory per job."""
        return max(self.stages, key=lambda stage: stage.memory)


def forecast(sample: str, work: Work | TileWork, rates: Rates | None = None) -> Forecast:
    """Return the forecast of a sample.

    Parameters
    ----------
    sample : str
        Name of the sample.
    work : Work or TileWork
        Size of the sample.
    rates : Rates, optional
        Measured rates of its model; by default reference rates of two CPU cores.
    """
    division = work.division
    kind = kind_named(work.recipe.kind)
    stages = []
    for stage in sample_stages(kind, work.layout_name, blocks=division.blocks):
        jobs = len(stage.jobs(division))
        if jobs:
            taken = cost(stage, work, rates)
            stages.append(
                StageForecast(stage, jobs, taken.seconds, taken.memory, stage.stored(work))
            )
    return Forecast(sample, work, tuple(stages), work.amplification, tuple(advice(work, rates)))


def forecasts(
    project: Project, samples: tuple[str, ...], rates: Mapping[str, Rates]
) -> tuple[Forecast, ...]:
    """Return the forecasts of samples, given measured rates by model folder."""
    return tuple(
        forecast(name, work_of(project, name), rates.get(project.task(name).model))
        for name in samples
    )
