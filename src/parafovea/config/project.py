"""A checked project: the config, the sheet and the models, which fit each other and the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from parafovea.chain.stage import Stage
from parafovea.chain.volume_stages import STAGES as VOLUME_STAGES
from parafovea.config.messages import suggestion
from parafovea.config.model_recipes import trained_models, weight_files
from parafovea.config.sample_files import is_phantom, sample_files
from parafovea.config.sample_links import is_predicted, upstream
from parafovea.config.sample_sizes import placed, result_grid, sample_grid, tile_grid
from parafovea.config.schema import LandscapeSettings, Phantoms, PhantomSettings, Settings, Task
from parafovea.config.sheet import Sample
from parafovea.config.sources import TILE_PHANTOM, referred, resolved, source_layout
from parafovea.config.study import StudySettings
from parafovea.errors import ConfigError
from parafovea.formats.metadata import parse_metadata
from parafovea.formats.tiles.census import TileCensus, tile_census
from parafovea.geometry.grid import Grid
from parafovea.inference.window_plan import planned_layout, shard_count
from parafovea.kinds.kind import Kind, LayoutName, kind_named
from parafovea.kinds.stages import sample_stages
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import BackboneSpec, Recipe
from parafovea.settings.training import TrainingSettings

TilePart = Literal["source", "truth"]

#: Stages of every volume.
SHARED = tuple(stage.name for stage in VOLUME_STAGES)


@dataclass(frozen=True)
class Project:
    """Everything that the workflow plans with.

    Parameters
    ----------
    settings : Settings
        The config.
    samples : mapping of str to Sample
        The sheet, by name, in its order.
    recipes : mapping of str to Recipe
        What the model of each used task expects, overrides applied, by task.
    study : StudySettings or None
        The context study, where the config names one.
    """

    settings: Settings
    samples: Mapping[str, Sample]
    recipes: Mapping[str, Recipe]
    study: StudySettings | None = None
    _grids: dict[str, Grid] = field(default_factory=dict, init=False, repr=False, compare=False)
    _layouts: dict[str, LayoutName] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    _files: dict[str, dict[str, list[str]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _censuses: dict[str, TileCensus] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def require(self, sample: str) -> Sample:
        """Return a sample of the sheet, or raise `ConfigError` where there is no such sample."""
        if sample not in self.samples:
            hint = suggestion(sample, self.samples) or ":"
            raise ConfigError(
                f"sample {sample!r} is not in {self.settings.samples}{hint} samples are "
                f"{', '.join(self.samples)}"
            )
        return self.samples[sample]

    def task(self, sample: str) -> Task:
        """Return the task of a sample."""
        return self.settings.tasks[self.samples[sample].task]

    def recipe(self, sample: str) -> Recipe:
        """Return what the model of a sample's task expects of its input."""
        return self.recipes[self.samples[sample].task]

    def kind(self, sample: str) -> Kind:
        """Return what the kind of a sample's task is."""
        return kind_named(self.task(sample).kind)

    def kind_of_recipe(self, recipe: Recipe) -> Kind:
        """Return what the kind of a model is."""
        return kind_named(recipe.kind)

    def block(self, sample: str, name: str) -> dict[str, Any]:
        """Return a config block of a sample's task as plain values."""
        block: dict[str, Any] = getattr(self.task(sample), name).model_dump(mode="json")
        return block

    def limits(self, sample: str) -> dict[str, Any]:
        """Return the limits of a sample's metrics as plain values."""
        limits: dict[str, Any] = self.block(sample, "quality")["limits"]
        return limits

    def stages(self, sample: str) -> tuple[Stage, ...]:
        """Return the stages of a sample, in the order in which they run."""
        return sample_stages(self.kind(sample), self.layout(sample))

    def jobs(self, stage: Stage, sample: str) -> list[dict[str, str]]:
        """Return the wildcards of each job of a stage of a sample."""
        jobs = stage.jobs(self.recipe(sample), self.inference(sample))
        return [{"sample": sample, **job} for job in jobs]

    def running(self, stage: Stage) -> tuple[str, ...]:
        """Return the samples that are predicted and pass a stage."""
        return tuple(name for name in self.predicted if stage in self.stages(name))

    def result_names(self, sample: str) -> frozenset[str]:
        """Return the results of a sample below its folder, those of shards and views left out."""
        return frozenset(name for stage in self.stages(sample) for name in stage.patterns)

    def predicts(self, name: str) -> bool:
        """Return whether any sample that is predicted has a result of that name."""
        return any(name in self.result_names(sample) for sample in self.predicted)

    def inference(self, sample: str) -> InferenceSettings:
        """Return a sample's inference settings, with its number of shards.

        That is the sheet's if it has one, else the task's, where `auto` counts the windows.
        """
        settings = self.task(sample).inference
        return settings.model_copy(update={"shards": self.shards(sample)})

    def shards(self, sample: str) -> int:
        """Return the number of jobs that a sample's windows, or tiles, are divided into.

        A folder of tiles is one job where no number is stated.
        """
        settings = self.task(sample).inference
        stated = self.samples[sample].shards or settings.shards
        if stated != "auto":
            return stated
        if self.layout(sample) == "tiles":
            return 1
        recipe = self.recipe(sample)
        volume = self.grid(sample).resampled(recipe.spacing)
        return shard_count(planned_layout(volume.shape, recipe, settings), settings)

    def grid(self, sample: str) -> Grid:
        """Return the grid of a sample's source, in the unit of its model: see `sample_grid`.

        That of another sample's result follows from its source and its model, whether it is there
        already or not, so that jobs are the same before and after.
        """
        if sample not in self._grids:
            self._grids[sample] = self._source_grid(self.samples[sample])
        return self._grids[sample]

    def _source_grid(self, sample: Sample) -> Grid:
        if self.layout(sample.name) == "tiles":
            return tile_grid(self.tile_sizes(sample.name), self.recipe(sample.name))
        other = referred(sample.source)
        if other is None:
            return sample_grid(
                sample,
                self.recipe(sample.name),
                phantoms=self.settings.phantoms,
                results=self.settings.results,
            )
        scales = self.task(other).inference.output_scales
        result = result_grid(self.grid(other), self.recipe(other), output_scale=scales)
        return placed(result, sample.metadata).converted(self.recipe(sample.name).unit)

    def source(self, sample: str) -> str:
        """Return where a sample's source is: its path in the sheet, or another sample's result."""
        return resolved(self.samples[sample].source, self.samples, self.settings)

    def truth(self, sample: str) -> str | None:
        """Return where a sample's truth is, None where it has none."""
        path = self.samples[sample].truth
        return None if path is None else resolved(path, self.samples, self.settings)

    def true_objects(self, sample: str) -> str | None:
        """Return where the true objects of a sample are, None where it has none."""
        return parse_metadata(self.samples[sample].metadata, folder=Path()).objects

    def layout(self, sample: str) -> LayoutName:
        """Return whether a sample is a volume or a folder of tiles."""
        if sample not in self._layouts:
            found = source_layout(self.samples[sample], self.samples, self.settings)
            self._layouts[sample] = found
        return self._layouts[sample]

    def files(self, sample: str) -> Mapping[str, list[str]]:
        """Return the files that a sample's jobs wait for: see `sample_files`."""
        if sample not in self._files:
            found = sample_files(self.samples[sample], self.samples, self.settings)
            self._files[sample] = found
        return self._files[sample]

    def tile_folder(self, sample: str, what: TilePart = "source") -> str | None:
        """Return the folder of a sample's tiles that is there before any job, None without one.

        Parameters
        ----------
        sample : str
            Any sample; a volume has no such folder.
        what : {"source", "truth"}
            Which of its folders; those that this workflow makes do not count.
        """
        entry = self.samples[sample]
        path = entry.source if what == "source" else entry.truth
        if (
            self.layout(sample) != "tiles"
            or path is None
            or referred(path) is not None
            or is_phantom(path, self.settings.results)
        ):
            return None
        return path

    def tile_content(self, sample: str, what: TilePart = "source") -> str:
        """Return a hash of the tiles in a `tile_folder`, "" without one: see `tile_census`."""
        folder = self.tile_folder(sample, what)
        return "" if folder is None else self._census(folder).digest

    def tile_sizes(self, sample: str) -> Mapping[tuple[int, int], int]:
        """Return the number of a sample's tiles of each height and width, before any is read.

        Another sample's results count as the tiles that they are made of.
        """
        other = referred(self.samples[sample].source)
        if other is not None:
            return self.tile_sizes(other)
        folder = self.tile_folder(sample)
        if folder is not None:
            return self._census(folder).sizes
        made = TILE_PHANTOM.fullmatch(self.samples[sample].source.rstrip("/").rpartition("/")[2])
        phantom = self.settings.phantoms.of("landscape" if made is None else made["kind"])
        if not isinstance(phantom, LandscapeSettings):
            raise AssertionError("a phantom of tiles")
        counts = zip(phantom.sizes, phantom.tiles, strict=True)
        return {(size, size): count for size, count in counts}

    def _census(self, folder: str) -> TileCensus:
        if folder not in self._censuses:
            self._censuses[folder] = tile_census(folder)
        return self._censuses[folder]

    def upstream(self, sample: str) -> tuple[str, ...]:
        """Return the samples whose results a sample needs, each after those that it needs."""
        return upstream(sample, self.samples)

    def folder(self, sample: str) -> str:
        """Return the folder of a sample's results."""
        return f"{self.settings.results}/{sample}"

    def phantom(self, kind: str) -> PhantomSettings | LandscapeSettings:
        """Return the size of the phantoms of a kind.

        Raises
        ------
        ConfigError
            If there are no phantoms of this kind.
        """
        if kind in Phantoms.kinds():
            return self.settings.phantoms.of(kind)
        raise ConfigError(f"no phantoms of kind {kind!r}: kinds are {', '.join(Phantoms.kinds())}")

    @property
    def trained(self) -> dict[str, str]:
        """The model folders that this project trains, each with the name of its task."""
        return trained_models({name: self.settings.tasks[name] for name in self.recipes})

    @property
    def predicted(self) -> tuple[str, ...]:
        """The samples that are predicted: all but those for training, unless a task wants them."""
        return tuple(
            name for name, sample in self.samples.items() if is_predicted(sample, self.settings)
        )

    def training(self, model: str) -> TrainingSettings:
        """Return how a model folder, one of `trained`, is trained.

        Raises
        ------
        KeyError
            If the project does not train this model.
        """
        training = self.settings.tasks[self.trained[model]].training
        if training is None:
            raise KeyError(model)
        return training

    @property
    def own_stages(self) -> tuple[str, ...]:
        """The stages that samples do not share with all volumes, by what they are predicted for."""
        found = (stage.name for sample in self.predicted for stage in self.stages(sample))
        return tuple(dict.fromkeys(name for name in found if name not in SHARED))

    @property
    def studied(self) -> StudySettings:
        """The context study; `KeyError` where the config names none."""
        if self.study is None:
            raise KeyError("study")
        return self.study

    def weight_files(self, sample: str, *, context: bool = False) -> list[str]:
        """Return the files of the weights that a sample's backbone loads, or its context's."""
        recipe = self.recipe(sample)
        if not context:
            return weight_files(recipe.backbone)
        return [] if recipe.context is None else weight_files(recipe.context.backbone)

    def weights_of(self, backbone: BackboneSpec) -> list[str]:
        """Return the files of the weights that a backbone loads."""
        return weight_files(backbone)

    @property
    def outcome(self) -> str:
        """One sentence that says where the results are, whatever was asked for."""
        report = Path(self.settings.results) / "report.html"
        if self.predicted:
            if report.is_file():
                return f"The report of all samples is {report}"
            return f"The results are in {self.settings.results}"
        return f"The trained models are {', '.join(self.trained)}"

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader of the results should know: a sentence for each override."""
        return tuple(
            f"task {name} overrides the {field} of {self.settings.tasks[name].model}: {value}"
            for name in self.recipes
            for field, value in self.settings.tasks[name].overrides.given.items()
        )

    def require_hashable(self) -> None:
        """Make sure that Snakemake can tell the content of all sources, for its shared cache.

        Raises
        ------
        ConfigError
            If the source of a volume is a folder: Snakemake hashes files only. What another sample
            is made for counts by what it is made of, and tiles have no features on disk to share.
        """
        for sample in self.samples.values():
            if referred(sample.source) is not None or self.layout(sample.name) == "tiles":
                continue
            for path in sample_files(sample, self.samples, self.settings)["source"]:
                if Path(path).is_dir() and not is_phantom(path, self.settings.results):
                    raise ConfigError(
                        f"{self.settings.samples}:{sample.line}: --cache cannot tell the content "
                        f"of {path}, the source of sample {sample.name!r}, since Snakemake hashes "
                        "files and no folders: run without --cache, or give a file or a pattern of "
                        "slices"
                    )
