"""What a run will take, sample by sample and stage by stage, before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parafovea.config import Project
from parafovea.planning.advice import advice
from parafovea.planning.amplification import Amplification, amplification
from parafovea.planning.costs import MOSAIC_STAGES, TILE_STAGES, Rates, cost
from parafovea.planning.disk import stored_bytes, stored_tile_bytes
from parafovea.planning.work import TileWork, Work

#: Stages whose rules ask for a GPU.
GPU_STAGES = ("extract_features", "extract_context", "infer_shard", "predict_tiles")

#: Stages of any volume, and those after them by its kind, in the order in which they run; those of
#: a folder of tiles of any kind.
SHARED = (
    "resample_volume",
    "extract_features",
    "extract_context",
    "infer_shard",
    "blend_shards",
)
OF_KIND: Mapping[str, tuple[str, ...]] = {
    "segmentation": ("segment_objects", "measure_quality", "render_report"),
    "detection": ("detect_nodules", "measure_detections", "render_detections"),
    "refinement": tuple(MOSAIC_STAGES),
}
OF_TILES = tuple(TILE_STAGES)
ORDER = (*SHARED, *OF_KIND["segmentation"], *OF_KIND["detection"], "export_mosaic", *OF_TILES)


@dataclass(frozen=True, slots=True)
class StageForecast:
    """What one stage of a sample takes.

    Parameters
    ----------
    stage : str
        Name of the stage.
    jobs : int
        How many there are.
    seconds : float
        Of one job.
    memory : float
        Bytes of one job, at its peak.
    disk : int
        Bytes that all of them store, before compression.
    """

    stage: str
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
        return sum(s.total_seconds for s in self.stages if (s.stage in GPU_STAGES) == gpu)

    @property
    def disk(self) -> int:
        """Bytes that the sample's results take, before compression."""
        return sum(stage.disk for stage in self.stages)

    @property
    def largest(self) -> StageForecast:
        """The stage whose jobs need the most memory."""
        return max(self.stages, key=lambda stage: stage.memory)


def forecast(sample: str, work: Work, rates: Rates | None = None) -> Forecast:
    """Return what a sample takes.

    Parameters
    ----------
    sample : str
        Its name.
    work : Work
        Its size.
    rates : Rates, optional
        Of its model, measured; those of two CPU cores by default.
    """
    disk, views = stored_bytes(work), work.inference.views
    jobs = {
        "extract_features": views,
        "extract_context": 0 if work.wide is None else views,
        "infer_shard": work.shards,
    }
    stages = []
    for stage in (*SHARED, *OF_KIND[work.recipe.kind]):
        taken = cost(stage, work, rates)
        stages.append(
            StageForecast(
                stage, jobs.get(stage, 1), taken.seconds, taken.memory, disk.get(stage, 0)
            )
        )
    return Forecast(
        sample,
        work,
        tuple(stage for stage in stages if stage.jobs),
        amplification(work.layout, work.shards),
        tuple(advice(work, rates)),
    )


def forecast_tiles(sample: str, work: TileWork, rates: Rates | None = None) -> Forecast:
    """Return what a folder of tiles takes.

    Parameters
    ----------
    sample, rates
        As for `forecast`.
    work : TileWork
        Its size.
    """
    disk = stored_tile_bytes(work)
    stages = []
    for stage in OF_TILES:
        taken = cost(stage, work, rates)
        stages.append(StageForecast(stage, 1, taken.seconds, taken.memory, disk.get(stage, 0)))
    computed = work.computed / max(1, work.pixels)
    return Forecast(sample, work, tuple(stages), Amplification(computed, 1.0), ())


def forecasts(
    project: Project, samples: tuple[str, ...], rates: Mapping[str, Rates]
) -> tuple[Forecast, ...]:
    """Return what some samples of a project take, with the rates of their models, by folder."""
    found = []
    for name in samples:
        recipe, inference = project.recipe(name), project.inference(name)
        known = rates.get(project.task(name).model)
        if project.is_tiles(name):
            tiles = TileWork(project.tile_sizes(name), recipe, inference)
            found.append(forecast_tiles(name, tiles, known))
        else:
            found.append(forecast(name, Work(project.grid(name), recipe, inference), known))
    return tuple(found)
