"""Resource requests of jobs: memory and time limit with a margin (docs/cluster.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parafovea.chain.cost import PLAIN, TORCH
from parafovea.chain.stage import Stage
from parafovea.chain.training_stages import LEARNED
from parafovea.chain.volume_stages import infer_shard
from parafovea.config import Project
from parafovea.config.sample_sizes import phantom_grid
from parafovea.config.schema import LandscapeSettings, PhantomSettings
from parafovea.kinds.stages import stages
from parafovea.planning.reference_rates import cost, width_factor
from parafovea.planning.work import TileWork, Work, work_of
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe
from parafovea.settings.training import TrainingSettings

#: Margins over the forecast.
MARGIN = 1.5
SLOWNESS = 10.0

#: Minutes for the start of a job: Snakemake, and imports from a slow shared disk.
START = 10


@dataclass(frozen=True, slots=True)
class Request:
    """Resource request of one attempt of a job.

    Parameters
    ----------
    mem_mb : int
        Memory in megabytes.
    runtime : int
        Time limit in minutes.
    """

    mem_mb: int
    runtime: int


def request(stage: Stage, work: Work | TileWork, attempt: int = 1) -> Request:
    """Return the request of a job of a stage.

    Parameters
    ----------
    stage : Stage
        A stage whose cost depends on the size of a sample.
    work : Work or TileWork
        The sample.
    attempt : int
        Number of the attempt, from 1; each further one doubles the request.
    """
    taken = cost(stage, work)
    return grown(taken.memory, taken.seconds, attempt)


def largest_request(stage: Stage, works: Iterable[Work | TileWork], attempt: int = 1) -> Request:
    """Return the largest request of a stage's jobs over some samples."""
    each = [request(stage, work, attempt) for work in works]
    return Request(max(r.mem_mb for r in each), max(r.runtime for r in each))


def cohort_request(samples: int, attempt: int = 1) -> Request:
    """Return the request of a job that reads the tables of all samples."""
    return grown(PLAIN + 2e6 * samples, 0.03 * samples, attempt)


def training_request(settings: TrainingSettings, attempt: int = 1) -> Request:
    """Return the request of a training job.

    Memory was measured at 480 bytes per voxel of a batch and channel of the first level; time at
    3 µs per voxel of a window with 16 such channels, on two busy cores.
    """
    width = settings.recipe.network.base_channels
    voxels = settings.batch_size * math.prod(settings.recipe.window)
    samples = len(settings.samples) + len(settings.validation)
    memory = TORCH + 500 * width * voxels + 100e6 * samples
    return grown(memory, 3e-6 * settings.steps * voxels * width_factor(width), attempt)


def grown(memory: float, seconds: float, attempt: int) -> Request:
    """Return the request of an attempt, with margins, rounded up and doubled for each failure."""
    growth = 2 ** (attempt - 1)
    megabytes = 500 * math.ceil(MARGIN * memory / 500e6)
    minutes = 10 * math.ceil((START + SLOWNESS * seconds / 60) / 10)
    return Request(megabytes * growth, minutes * growth)


class JobRequests:
    """Resource requests of the jobs of a project.

    Parameters
    ----------
    project : Project
        The checked project.
    planning : bool
        Whether this process plans all jobs. Jobs of short stages then request what the largest
        sample needs, since all jobs of a job array have the same request. Within a job, requests
        are not used and other samples are not considered.
    """

    def __init__(self, project: Project, *, planning: bool) -> None:
        self._project = project
        self._planning = planning
        self._works: dict[str, Work | TileWork] = {}
        self._known: dict[tuple[str, str, int], Request] = {}

    def of(self, name: str, wildcards: Mapping[str, str], attempt: int) -> Request:
        """Return the request of one attempt of a job.

        Parameters
        ----------
        name : str
            Name of the stage.
        wildcards : mapping of str to str
            Wildcards of the rule: a `sample`, the `kind` of a phantom, a `model` to train, or
            those of the study.
        attempt : int
            Number of the attempt, from 1.

        Returns
        -------
        Request
            Doubled for each further attempt.
        """
        stage, project = stages()[name], self._project
        if stage.sized_by == "sample":
            return self._of_sample(stage, wildcards["sample"], attempt)
        if stage.sized_by == "cohort":
            return cohort_request(len(project.samples), attempt)
        if stage.sized_by == "training":
            return training_request(self._training(wildcards), attempt)
        if stage.sized_by == "phantom":
            recipe = next(iter(project.recipes.values()))
            phantom, seed = project.phantom(wildcards["kind"]), int(wildcards["seed"])
            return request(stage, _phantom(phantom, recipe, seed=seed), attempt)
        return self._of_study(stage, wildcards, attempt)

    def work(self, sample: str) -> Work | TileWork:
        """Return the size of a sample."""
        if sample not in self._works:
            self._works[sample] = work_of(self._project, sample)
        return self._works[sample]

    def _of_sample(self, stage: Stage, sample: str, attempt: int) -> Request:
        largest = self._planning and stage.short
        key = (stage.name, "" if largest else sample, attempt)
        if key not in self._known:
            self._known[key] = (
                largest_request(stage, self._works_of(stage), attempt)
                if largest
                else request(stage, self._work_in(stage, sample), attempt)
            )
        return self._known[key]

    def _work_in(self, stage: Stage, sample: str) -> Work | TileWork:
        """Return the size of a sample in a stage, for which tiles may be stacked to a volume."""
        work = self.work(sample)
        if stage in LEARNED and isinstance(work, TileWork):
            return work.stacked(self._project.grid(sample))
        return work

    def _works_of(self, stage: Stage) -> list[Work | TileWork]:
        """Return the sizes of the samples with jobs of a stage; one that fails has no size."""
        project = self._project
        return [self.work(name) for name in project.running(stage) if not project.failure(name)]

    def _training(self, wildcards: Mapping[str, str]) -> TrainingSettings:
        if "variant" in wildcards:
            study = self._project.studied
            return study.training_of(study.variant(wildcards["variant"]), int(wildcards["seed"]))
        return self._project.training(wildcards["model"])

    def _of_study(self, stage: Stage, wildcards: Mapping[str, str], attempt: int) -> Request:
        """Return the request of a job of the study."""
        study = self._project.studied
        recipe: Recipe = study.training.recipe
        if "variant" in wildcards:
            recipe = study.variant(wildcards["variant"]).recipe
        elif "view" in wildcards:
            wide = stage.name == "extract_study_context"
            recipe = study.recipe_of_view(wildcards["view"], context=wide)
        if "member" in wildcards:
            return request(stage, self._member(wildcards["member"], recipe), attempt)
        each = [request(infer_shard, self._member(name, recipe), attempt) for name in study.test]
        return Request(max(r.mem_mb for r in each), sum(r.runtime for r in each))

    def _member(self, name: str, recipe: Recipe) -> Work:
        """Return the size of a study's sample, a phantom or one of the sheet."""
        if self._project.studied.on_phantoms:
            return _phantom(self._project.phantom("cell"), recipe, seed=0)
        return Work(self._project.grid(name).converted(recipe.unit), recipe, InferenceSettings())


def _phantom(phantom: PhantomSettings | LandscapeSettings, recipe: Recipe, *, seed: int) -> Work:
    grid = phantom_grid(phantom, seed=seed).converted(recipe.unit)
    return Work(grid, recipe, InferenceSettings())
