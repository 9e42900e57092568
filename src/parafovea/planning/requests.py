"""What a job asks of a machine: memory and minutes, with room to spare (docs/cluster.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parafovea.config import Project
from parafovea.config.sample_sizes import phantom_grid
from parafovea.config.schema import LandscapeSettings, PhantomSettings
from parafovea.config.study import StudySettings
from parafovea.planning.costs import PLAIN, STAGES, TILE_STAGES, TORCH, cost, width_factor
from parafovea.planning.work import TileWork, Work
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import TrainingSettings

#: Stages of many short jobs, which a cluster takes as one array. All jobs of an array ask for what
#: its first one asks for, so they ask for what the largest sample needs.
SHORT = ("make_phantom", "measure_quality", "render_report")

#: Rules that ask for themselves; the views of a sample ask alike.
ASKING = tuple(stage for stage in STAGES if stage != "extract_context")

#: How much more than measured is asked for.
MARGIN = 1.5
SLOWNESS = 10.0

#: Minutes until a job begins: imports from a slow shared disk, Snakemake's own start.
START = 10


@dataclass(frozen=True, slots=True)
class Request:
    """What one attempt of a job asks for.

    Parameters
    ----------
    mem_mb : int
        Memory, in megabytes.
    runtime : int
        Time limit, in minutes.
    """

    mem_mb: int
    runtime: int


def request(stage: str, work: Work | TileWork, attempt: int = 1) -> Request:
    """Return what a stage's job asks for.

    Parameters
    ----------
    stage : str
        One of `ASKING` or `MOSAIC_STAGES`, of tiles one of `TILE_STAGES`; `extract_features` is
        enough for context, too.
    work : Work or TileWork
        The sample.
    attempt : int
        1 for the first; each further one doubles the request.
    """
    stages = ("extract_features", "extract_context") if stage == "extract_features" else (stage,)
    costs = [cost(each, work) for each in stages]
    return grown(max(c.memory for c in costs), max(c.seconds for c in costs), attempt)


def largest_request(stage: str, works: Iterable[Work], attempt: int = 1) -> Request:
    """Return what is enough for a stage's job of each of some samples."""
    each = [request(stage, work, attempt) for work in works]
    return Request(max(r.mem_mb for r in each), max(r.runtime for r in each))


def cohort_request(samples: int, attempt: int = 1) -> Request:
    """Return what a job asks for that reads the tables of all samples."""
    return grown(PLAIN + 2e6 * samples, 0.03 * samples, attempt)


def training_request(settings: TrainingSettings, attempt: int = 1) -> Request:
    """Return what the training of a model asks for.

    The memory was measured at 480 bytes a voxel of a batch and channel of the first level; the
    time at 3 µs a voxel of a window, at 16 such channels, on two busy cores.
    """
    width = settings.recipe.network.base_channels
    voxels = settings.batch_size * math.prod(settings.recipe.window)
    samples = len(settings.samples) + len(settings.validation)
    memory = TORCH + 500 * width * voxels + 100e6 * samples
    return grown(memory, 3e-6 * settings.steps * voxels * width_factor(width), attempt)


def grown(memory: float, seconds: float, attempt: int) -> Request:
    """Return the request of an attempt: with margins, rounded up, doubled for each failure."""
    growth = 2 ** (attempt - 1)
    megabytes = 500 * math.ceil(MARGIN * memory / 500e6)
    minutes = 10 * math.ceil((START + SLOWNESS * seconds / 60) / 10)
    return Request(megabytes * growth, minutes * growth)


class JobRequests:
    """The memory and the minutes that the jobs of a project ask for.

    Parameters
    ----------
    project : Project
        The checked project.
    planning : bool
        Whether all jobs are planned here. Then those of short stages ask for what the largest
        sample needs, since a job array asks for all of its jobs alike. Within a job, nobody asks
        for anything, and the other samples are not looked at.
    """

    def __init__(self, project: Project, *, planning: bool) -> None:
        self._project = project
        self._planning = planning
        self._works: dict[str, Work] = {}
        self._tiles: dict[str, TileWork] = {}
        self._known: dict[tuple[str, str, int], Request] = {}

    def of(self, stage: str, wildcards: Mapping[str, str], attempt: int) -> Request:
        """Return what one attempt of a job asks for.

        Parameters
        ----------
        stage : str
            Name of the stage.
        wildcards : mapping of str to str
            Of the rule: a `sample`, the `kind` of a phantom, a `model` that is trained, or those
            of the context study.
        attempt : int
            1 for the first.

        Returns
        -------
        Request
            Twice as much for each further attempt.
        """
        if stage in ("summarize_cohort", "plot_context_study"):
            return cohort_request(len(self._project.samples), attempt)
        if stage == "train_model":
            return training_request(self._training(wildcards), attempt)
        if stage == "make_phantom":
            phantom = self._project.phantom(wildcards["kind"])
            return request(stage, self._phantom(phantom, self._any_recipe()), attempt)
        if "sample" not in wildcards:
            return self._of_study(stage, attempt)
        return self._of_sample(stage, wildcards["sample"], attempt)

    def work(self, sample: str) -> Work:
        """Return a volume, as far as the size of its jobs depends on it."""
        if sample not in self._works:
            project = self._project
            self._works[sample] = Work(
                project.grid(sample), project.recipe(sample), project.inference(sample)
            )
        return self._works[sample]

    def tile_work(self, sample: str) -> TileWork:
        """Return a folder of tiles, as far as the size of its jobs depends on it."""
        if sample not in self._tiles:
            project = self._project
            self._tiles[sample] = TileWork(
                project.tile_sizes(sample), project.recipe(sample), project.inference(sample)
            )
        return self._tiles[sample]

    def _of_sample(self, stage: str, sample: str, attempt: int) -> Request:
        if stage in TILE_STAGES and self._project.is_tiles(sample):
            return request(stage, self.tile_work(sample), attempt)
        largest = self._planning and stage in SHORT
        key = (stage, "" if largest else sample, attempt)
        if key not in self._known:
            self._known[key] = (
                largest_request(stage, map(self.work, self._project.predicted_volumes), attempt)
                if largest
                else request(stage, self.work(sample), attempt)
            )
        return self._known[key]

    def _phantom(self, phantom: PhantomSettings | LandscapeSettings, recipe: Recipe) -> Work:
        grid = phantom_grid(phantom).converted(recipe.unit)
        return Work(grid, recipe, InferenceSettings())

    def _any_recipe(self) -> Recipe:
        return next(iter(self._project.recipes.values()))

    def _training(self, wildcards: Mapping[str, str]) -> TrainingSettings:
        if "variant" in wildcards:
            study = self._study()
            return study.training_of(study.variant(wildcards["variant"]), int(wildcards["seed"]))
        task = self._project.settings.tasks[self._project.trained[wildcards["model"]]]
        if task.training is None:
            raise KeyError(wildcards["model"])
        return task.training

    def _of_study(self, stage: str, attempt: int) -> Request:
        """Return what a job of the context study asks for; all of its phantoms are alike."""
        study = self._study()
        work = self._phantom(self._project.phantom("cell"), study.training.recipe)
        if stage != "score_model":
            return request(stage, work, attempt)
        each = request("infer_shard", work, attempt)
        return Request(each.mem_mb, each.runtime * len(study.test))

    def _study(self) -> StudySettings:
        if self._project.study is None:
            raise KeyError("study")
        return self._project.study
