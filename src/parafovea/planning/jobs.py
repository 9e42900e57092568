"""What each job of a project asks for: the sizes of its samples, given to `planning.requests`."""

from __future__ import annotations

from collections.abc import Mapping

from parafovea.config import Project
from parafovea.config.settings import LandscapeSettings, PhantomSettings
from parafovea.config.sizes import phantom_grid
from parafovea.config.study import StudySettings
from parafovea.inference.settings import InferenceSettings
from parafovea.models.spec import Recipe
from parafovea.planning.costs import TILE_STAGES
from parafovea.planning.requests import (
    SHORT,
    Request,
    cohort_request,
    largest_request,
    request,
    training_request,
)
from parafovea.planning.tile_work import TileWork
from parafovea.planning.work import Work
from parafovea.training.settings import TrainingSettings


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
