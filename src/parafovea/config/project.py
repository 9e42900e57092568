"""A checked project: the config, the sheet and the models, which fit each other and the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from parafovea.config.messages import suggestion
from parafovea.config.model_recipes import trained_models
from parafovea.config.sample_files import is_phantom, sample_files
from parafovea.config.sample_links import is_predicted, upstream
from parafovea.config.sample_sizes import placed, result_grid, sample_grid, tile_grid
from parafovea.config.schema import LandscapeSettings, Phantoms, PhantomSettings, Settings, Task
from parafovea.config.sheet import Sample
from parafovea.config.sources import TILE_PHANTOM, SourceType, referred, resolved, source_type
from parafovea.config.study import StudySettings
from parafovea.errors import ConfigError
from parafovea.formats.tiles.census import TileCensus, tile_census
from parafovea.geometry.grid import Grid
from parafovea.inference.window_plan import planned_layout, shard_count
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe

TilePart = Literal["source", "truth"]


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
    _types: dict[str, SourceType] = field(
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

    def kind(self, sample: str) -> str:
        """Return the kind of a sample's task."""
        return self.task(sample).kind

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
        if self.is_tiles(sample):
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
        if self.is_tiles(sample.name):
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

    def source_type(self, sample: str) -> SourceType:
        """Return whether a sample is a volume or a folder of tiles."""
        if sample not in self._types:
            found = source_type(self.samples[sample], self.samples, self.settings)
            self._types[sample] = found
        return self._types[sample]

    def is_tiles(self, sample: str) -> bool:
        """Tell whether a sample is a folder of tiles."""
        return self.source_type(sample) == "tiles"

    def tile_folder(self, sample: str, what: TilePart = "source") -> str | None:
        """Return the folder of a sample's tiles that is there before any job, None without one.

        Parameters
        ----------
        sample : str
            A folder of tiles.
        what : {"source", "truth"}
            Which of its folders; those that this workflow makes do not count.
        """
        entry = self.samples[sample]
        path = entry.source if what == "source" else entry.truth
        if path is None or referred(path) is not None or is_phantom(path, self.settings.results):
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

    def predicted_of(self, kind: str, type: SourceType = "volume") -> tuple[str, ...]:
        """Return the volumes of one kind that are predicted, or its folders of tiles."""
        return tuple(
            name
            for name in self.predicted
            if self.kind(name) == kind and self.source_type(name) == type
        )

    @property
    def predicted_volumes(self) -> tuple[str, ...]:
        """The volumes that are predicted."""
        return tuple(name for name in self.predicted if not self.is_tiles(name))

    @property
    def predicted_tiles(self) -> tuple[str, ...]:
        """The folders of tiles that are predicted."""
        return tuple(name for name in self.predicted if self.is_tiles(name))

    @property
    def tasks_of_predicted(self) -> dict[str, str]:
        """The task of each sample that is predicted."""
        return {name: self.samples[name].task for name in self.predicted}

    @property
    def kinds_of_predicted(self) -> dict[str, str]:
        """The kind of each task of a sample that is predicted."""
        return {name: self.settings.tasks[name].kind for name in self.tasks_of_predicted.values()}

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
            if referred(sample.source) is not None or self.is_tiles(sample.name):
                continue
            for path in sample_files(sample, self.samples, self.settings)["source"]:
                if Path(path).is_dir() and not is_phantom(path, self.settings.results):
                    raise ConfigError(
                        f"{self.settings.samples}:{sample.line}: --cache cannot tell the content "
                        f"of {path}, the source of sample {sample.name!r}, since Snakemake hashes "
                        "files and no folders: run without --cache, or give a file or a pattern of "
                        "slices"
                    )

    def plan(self, sample: str) -> dict[str, Any]:
        """Return all that rules need to know of a sample but its inference, JSON-ready.

        Parameters
        ----------
        sample : str
            Name in the sheet.

        Returns
        -------
        dict
            `source` and `truth`, where they are read, `metadata` as in the sheet, `files` to wait
            for, `task` and `recipe` as nested settings; `output_scale` (z, y, x) beside them, since
            only blending depends on it.
        """
        entry = self.samples[sample]
        return {
            "source": self.source(sample),
            "truth": self.truth(sample),
            "metadata": entry.metadata,
            "files": sample_files(entry, self.samples, self.settings),
            "task": self.task(sample).model_dump(mode="json"),
            "recipe": self.recipe(sample).model_dump(mode="json"),
            "output_scale": list(self.task(sample).inference.output_scales),
        }

    def inference_plan(self, sample: str) -> dict[str, Any]:
        """Return a sample's inference settings, JSON-ready, with its number of shards.

        Where shards are automatic, this opens the header of the source, so that rules ask for it
        only when they need it.
        """
        return self.inference(sample).model_dump(
            mode="json", exclude={"output_scale", "windows_per_shard"}
        )

    def training_plan(self, model: str) -> dict[str, Any]:
        """Return all that the rule needs to know that trains a model, JSON-ready.

        Parameters
        ----------
        model : str
            Model folder; one of `trained`.

        Returns
        -------
        dict
            `name` of the model, `checkpoints` folder, `settings`, the `samples` (name, truth,
            metadata), and the files to wait for: `volumes`, `features`, `contexts`, `truths`.

        Raises
        ------
        KeyError
            If the project does not train this model.
        """
        name = self.trained[model]
        training = self.settings.tasks[name].training
        if training is None:
            raise KeyError(model)
        names = training.samples + training.validation
        folders = [self.folder(sample) for sample in names]
        context = training.recipe.context is not None
        return {
            "name": Path(model).name,
            "checkpoints": f"{self.settings.results}/training/{name}",
            "settings": training.model_dump(mode="json"),
            "samples": [
                {
                    "name": sample,
                    "truth": self.truth(sample),
                    "metadata": self.samples[sample].metadata,
                }
                for sample in names
            ],
            "volumes": [f"{folder}/volume.ome.zarr" for folder in folders],
            "features": [f"{folder}/features.zarr" for folder in folders],
            "contexts": [f"{folder}/context.zarr" for folder in folders] if context else [],
            "truths": [file for s in names for file in self.plan(s)["files"]["truth"]],
        }
