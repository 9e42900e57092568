"""The checked project: config, sample sheet, models, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from parafovea.chain.cohort_stages import READ
from parafovea.chain.division import Division, blocks_of
from parafovea.chain.stage import Stage
from parafovea.chain.training_stages import LEARNED
from parafovea.chain.volume_chain import STAGES as VOLUME_STAGES
from parafovea.config.dicom_output import output_problem
from parafovea.config.messages import suggestion
from parafovea.config.model_recipes import trained_models, weight_files
from parafovea.config.sample_files import is_phantom, sample_files, stated_files
from parafovea.config.sample_links import is_predicted, upstream
from parafovea.config.sample_sizes import (
    placed,
    read_level,
    result_grid,
    sample_grid,
    tile_grid,
    unknown_grid,
)
from parafovea.config.schema import LandscapeSettings, Phantoms, PhantomSettings, Settings, Task
from parafovea.config.sheet import Sample
from parafovea.config.sources import (
    TILE_PHANTOM,
    references,
    referred,
    resolved,
    source_layout,
)
from parafovea.config.study import StudySettings
from parafovea.errors import ConfigError, GridError, ParafoveaError, SourceError, describe
from parafovea.formats.channel_files import paths_of
from parafovea.formats.channels import open_input
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import source_grid
from parafovea.formats.tiles.census import TileCensus, tile_census
from parafovea.geometry.grid import Grid
from parafovea.inference.block_shards import BlockShards
from parafovea.inference.window_plan import planned_layout, shard_count
from parafovea.kinds.kind import Kind, LayoutName, kind_named
from parafovea.kinds.stages import sample_stages
from parafovea.preprocess.source_statistics import passes_of
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.postprocess import CONFIDENCE_FILE
from parafovea.settings.recipe import BackboneSpec, Recipe
from parafovea.settings.training import TrainingSettings
from parafovea.storage import layout

TilePart = Literal["source", "truth"]

#: Stages of every volume.
SHARED = tuple(stage.name for stage in VOLUME_STAGES)


@dataclass(frozen=True)
class Project:
    """A checked config with its samples and models, from which the workflow is planned.

    Parameters
    ----------
    settings : Settings
        The config.
    samples : mapping of str to Sample
        Samples by name, in the order of the sheet.
    recipes : mapping of str to Recipe
        Recipe of the model of each used task, with overrides, by task.
    study : StudySettings or None
        The study, if the config names one.
    absent : mapping of str to str
        Samples whose files are missing or of no known format, with the reasons.
    """

    settings: Settings
    samples: Mapping[str, Sample]
    recipes: Mapping[str, Recipe]
    study: StudySettings | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    _grids: dict[str, Grid] = field(default_factory=dict, init=False, repr=False, compare=False)
    _unread: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _failures: dict[str, str | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _outputs: dict[str, str | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _shards: dict[str, BlockShards] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _divisions: dict[str, Division] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
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
        """Return a sample of the sheet, or raise `ConfigError` if there is none of that name."""
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
        """Return the recipe of the model of a sample's task."""
        return self.recipes[self.samples[sample].task]

    def reads_bands(self, sample: str) -> bool:
        """Return whether a sample is an image: by its model's unit, or as a folder of tiles."""
        recipe = self.recipe(sample)
        return recipe.is_image or (bool(recipe.bands) and self.layout(sample) == "tiles")

    def kind(self, sample: str) -> Kind:
        """Return the kind of a sample's task."""
        return kind_named(self.task(sample).kind)

    def kind_of_recipe(self, recipe: Recipe) -> Kind:
        """Return the kind of a recipe."""
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
        """Return the stages of a sample in execution order."""
        blocks = self.blocks(sample)
        return sample_stages(self.kind(sample), self.layout(sample), blocks=blocks)

    def makers(self, sample: str) -> tuple[Stage, ...]:
        """Return the stages that make any of a sample's results.

        Tiles that a model learns from are stacked to a volume, beside their own stages.
        """
        found = self.stages(sample)
        return (*found, *LEARNED) if sample in self._learned_tiles else found

    @cached_property
    def _learned_tiles(self) -> frozenset[str]:
        """Folders of tiles that models learn from, or are chosen by."""
        each = (self.training(model) for model in self.trained)
        names = {name for one in each for name in one.samples + one.validation}
        return frozenset(name for name in names if self.layout(name) == "tiles")

    def jobs(self, stage: Stage, sample: str) -> list[dict[str, str]]:
        """Return the wildcards of each job of a stage for a sample."""
        return [{"sample": sample, **job} for job in stage.jobs(self.division(sample))]

    def division(self, sample: str) -> Division:
        """Return into how many jobs the stages of a sample are divided."""
        if sample not in self._divisions:
            blocks = self.blocks(sample)
            self._divisions[sample] = Division(
                self.recipe(sample),
                self.inference(sample),
                blocks,
                1 if blocks == 1 else self._passes(sample),
                {name: self.block(sample, name) for name in self.kind(sample).blocks},
                self.task(sample).dicom_output,
            )
        return self._divisions[sample]

    def blocks(self, sample: str) -> int:
        """Return the number of blocks of a sample's arrays; a folder of tiles is one block.

        The sheet's number takes precedence over the task's, where `auto` counts voxels.
        """
        if self.layout(sample) == "tiles":
            return 1
        task = self.task(sample)
        stated = self.samples[sample].blocks or task.blocks
        if stated != "auto":
            return stated
        try:
            volume = self.grid(sample).resampled(self.recipe(sample).spacing)
        except GridError:
            # the wrong scale is reported where its windows are planned
            return 1
        return blocks_of(volume.size, task.voxels_per_block)

    def shards_of_block(self, sample: str, block: int) -> list[int]:
        """Return the numbers of the shards that have sums of a block of the prediction."""
        if sample not in self._shards:
            recipe, division = self.recipe(sample), self.division(sample)
            volume = self.grid(sample).resampled(recipe.spacing)
            found = BlockShards(volume, recipe, division.inference, blocks=division.blocks)
            self._shards[sample] = found
        return self._shards[sample].of(block)

    def _passes(self, sample: str) -> int:
        """Return the passes over a sample's source; see `source_statistics.passes_of`."""
        entry, recipe = self.samples[sample], self.recipe(sample)
        paths = paths_of(entry.source)
        made = [path for path in paths if is_phantom(path, self.settings.results)]
        if made:
            return passes_of(np.dtype(np.int16) if len(made) == len(paths) else None)
        if referred(entry.source) is not None:
            return passes_of(np.dtype(np.float32))
        try:
            opened = open_input(
                entry.source,
                bands=recipe.image_bands,
                channels=recipe.volume_channels,
                metadata=parse_metadata(entry.metadata, folder=Path()).for_input(recipe.ranges),
                finer_than=recipe.spacing,
                unit=recipe.unit,
            )
        except ParafoveaError:
            return passes_of(None)
        return max(passes_of(np.dtype(each.source.array.dtype)) for each in opened)

    def running(self, stage: Stage) -> tuple[str, ...]:
        """Return the predicted samples that a stage applies to."""
        return tuple(name for name in self.predicted if stage in self.stages(name))

    def result_names(self, sample: str) -> frozenset[str]:
        """Return a sample's results relative to its folder, which its blocks are parts of."""
        found = sample_stages(self.kind(sample), self.layout(sample))
        return frozenset(name for stage in found for name in stage.patterns)

    def predicts(self, name: str) -> bool:
        """Return whether any predicted sample has a result of that name."""
        return any(name in self.result_names(sample) for sample in self.predicted)

    def inference(self, sample: str) -> InferenceSettings:
        """Return a sample's inference settings, with its number of shards.

        The sheet's number takes precedence over the task's, where `auto` counts windows.
        """
        settings = self.task(sample).inference
        return settings.model_copy(update={"shards": self.shards(sample)})

    def shards(self, sample: str) -> int:
        """Return the number of jobs that share a sample's windows or tiles.

        With `auto`, a folder of tiles is one job.
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

        The grid of another sample's result is derived from its source and its model, whether or
        not the result exists, so that the jobs do not change during a run. A grid that cannot be
        known is an `unknown_grid`; see `unread`.
        """
        if sample not in self._grids:
            try:
                self._grids[sample] = self._source_grid(self.samples[sample])
            except ParafoveaError as error:
                self._unread[sample] = describe(error)
                self._grids[sample] = unknown_grid(self.recipe(sample))
        return self._grids[sample]

    def unread(self, sample: str) -> str | None:
        """Return why the header of a sample's source cannot be read, None if it can."""
        self.grid(sample)
        return self._unread.get(sample)

    def _source_grid(self, sample: Sample) -> Grid:
        if self.archived(sample.name):
            return self._stored_grid(sample.name)
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
        grid = placed(result, sample.metadata)
        if self.kind(other).results["volume"].endswith(layout.PYRAMID):
            grid = read_level(result, grid, self.recipe(sample.name))
        return grid.converted(self.recipe(sample.name).unit)

    def _stored_grid(self, sample: str) -> Grid:
        """Return the grid of a sample's volume, which stands for a source that is gone."""
        recipe = self.recipe(sample)
        if self.layout(sample) == "tiles":
            return tile_grid({}, recipe)
        volume = f"{self.folder(sample)}/{layout.VOLUME}"
        stored = source_grid(volume, metadata=SourceMetadata(channel=0))
        return stored.converted(recipe.unit)

    def confidence_file(self, sample: str) -> str | None:
        """Return the file that calibrates a detector's confidences, if its folder has one."""
        task = self.task(sample)
        detection = getattr(task, "detection", None)
        if detection is None or not detection.calibrated or task.model in self.trained:
            return None
        path = f"{task.model}/{CONFIDENCE_FILE}"
        return path if Path(path).is_file() else None

    def finished(self, sample: str) -> bool:
        """Return whether the results of a sample that others read are all there.

        Those of a training sample are its part in the model.
        """
        if sample not in self.predicted:
            return Path(self.task(sample).model).is_dir()
        made = self.result_names(sample)
        return all(Path(self.folder(sample), name).exists() for name in READ if name in made)

    def archived(self, sample: str) -> bool:
        """Return whether a sample's files are gone, but its results are finished.

        They are kept as they are: what can be made again without the files is made again.
        """
        return sample in self.absent and self.finished(sample)

    def failure(self, sample: str) -> str | None:
        """Return why a sample has no jobs, None if it has.

        A sample fails if its files are missing and its results are not finished, if the header of
        its source cannot be read or is of another scale than its model, or if it needs the result
        of a sample that fails, or a model that learns from one.
        """
        if sample not in self._failures:
            self._failures[sample] = self._input_failure(sample) or self._model_failure(sample)
        return self._failures[sample]

    def _input_failure(self, sample: str) -> str | None:
        """Return why a sample cannot be read."""
        if self.archived(sample):
            return None
        for other in references(self.samples[sample]):
            if self.failure(other) is not None:
                return f"it needs the result of {other!r}, which cannot be run"
        return self.absent.get(sample) or self.unread(sample) or self.output_failure(sample)

    def output_failure(self, sample: str) -> str | None:
        """Return why results cannot be DICOM objects where the task asks for them, else None."""
        if not self.task(sample).dicom_output:
            return None
        if sample not in self._outputs:
            entry = self.samples[sample]
            self._outputs[sample] = (
                f"dicom_output is for DICOM series, but its source is {entry.source}: give a "
                "series, or set dicom_output: false"
                if referred(entry.source) is not None
                or is_phantom(entry.source, self.settings.results)
                else output_problem(entry.source, entry.metadata)
            )
        return self._outputs[sample]

    def _model_failure(self, sample: str) -> str | None:
        """Return why the model of a sample cannot be trained, if it is trained here."""
        model = self.task(sample).model
        if not is_predicted(self.samples[sample], self.settings) or model not in self.trained:
            return None
        failed = self._unlearnable(model)
        return None if failed is None else f"it needs {model}, which learns from {failed!r}"

    def _unlearnable(self, model: str) -> str | None:
        """Return a sample that cannot be read and that a model, or its first one, learns from."""
        training = self.training(model)
        learned = training.samples + training.validation
        failed = next((name for name in learned if self._input_failure(name) is not None), None)
        if failed is None and training.start in self.trained:
            return self._unlearnable(training.start)
        return failed

    @cached_property
    def failed(self) -> Mapping[str, str]:
        """Samples that have no jobs, with the reasons; see `failure`.

        Opens the headers of all sources.
        """
        found = ((name, self.failure(name)) for name in self.samples)
        return {name: reason for name, reason in found if reason is not None}

    @property
    def planned(self) -> tuple[str, ...]:
        """Predicted samples that do not fail while the run is planned; see `failed`."""
        return tuple(name for name in self.predicted if name not in self.failed)

    @property
    def trainable(self) -> tuple[str, ...]:
        """Model folders to train, without those that learn from a sample that fails."""
        return tuple(model for model in self.trained if self._unlearnable(model) is None)

    def require_any(self) -> None:
        """Check that a sample is left where files are missing; see `absent`.

        Raises
        ------
        SourceError
            With the reasons, if all samples fail.
        """
        if self.absent and len(self.failed) == len(self.samples):
            raise SourceError("\n  ".join(self.failure_lines()))

    def failure_lines(self, failed: Mapping[str, str] | None = None) -> list[str]:
        """Return a line for each sample that fails, such as "samples.tsv:2: sample 'a': ...".

        Parameters
        ----------
        failed : mapping of str to str, optional
            Reasons by sample; by default `failed`.
        """
        found = self.failed if failed is None else failed
        return [
            f"{self.settings.samples}:{self.samples[name].line}: sample {name!r}: {reason}"
            for name, reason in found.items()
        ]

    def unread_tiles(self, sample: str) -> int:
        """Return how many tiles of a sample's folder cannot be read; 0 for a volume."""
        folder = self.tile_folder(sample)
        return 0 if folder is None else self._census(folder).unread

    def source(self, sample: str) -> str:
        """Return the path of a sample's source: that of the sheet, or another sample's result."""
        return resolved(self.samples[sample].source, self.samples, self.settings)

    def truth(self, sample: str) -> str | None:
        """Return the path of a sample's truth, None without one."""
        path = self.samples[sample].truth
        return None if path is None else resolved(path, self.samples, self.settings)

    def true_objects(self, sample: str) -> str | None:
        """Return the path of a sample's true objects, None without any."""
        return parse_metadata(self.samples[sample].metadata, folder=Path()).objects

    def layout(self, sample: str) -> LayoutName:
        """Return the layout of a sample: a volume or a folder of tiles."""
        if sample not in self._layouts:
            found = source_layout(self.samples[sample], self.samples, self.settings)
            self._layouts[sample] = found
        return self._layouts[sample]

    def files(self, sample: str) -> Mapping[str, list[str]]:
        """Return the files that a sample's jobs depend on; see `sample_files`."""
        if sample not in self._files:
            read = stated_files if sample in self.absent else sample_files
            self._files[sample] = read(self.samples[sample], self.samples, self.settings)
        return self._files[sample]

    def tile_folder(self, sample: str, what: TilePart = "source") -> str | None:
        """Return the folder of a sample's tiles that exists before the run, None without one.

        Parameters
        ----------
        sample : str
            Any sample; a volume has no such folder.
        what : {"source", "truth"}
            Which folder; folders made by this workflow are not returned.
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
        """Return a hash of the tiles in a `tile_folder`, "" without one; see `tile_census`."""
        folder = self.tile_folder(sample, what)
        return "" if folder is None else self._census(folder).digest

    def tile_sizes(self, sample: str) -> Mapping[tuple[int, int], int]:
        """Return the number of a sample's tiles by height and width, without reading them.

        For another sample's results, these are the tiles that they are made from.
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
        """Return the samples that a sample depends on, in topological order."""
        return upstream(sample, self.samples)

    def folder(self, sample: str) -> str:
        """Return the results folder of a sample."""
        return f"{self.settings.results}/{sample}"

    def phantom(self, kind: str) -> PhantomSettings | LandscapeSettings:
        """Return the settings of the phantoms of a kind.

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
        """Model folders that this project trains, with the name of the task of each."""
        return trained_models({name: self.settings.tasks[name] for name in self.recipes})

    @property
    def predicted(self) -> tuple[str, ...]:
        """Samples that are predicted: all except training samples without `predict_training`."""
        return tuple(
            name for name, sample in self.samples.items() if is_predicted(sample, self.settings)
        )

    def training(self, model: str) -> TrainingSettings:
        """Return the training settings of a model folder in `trained`.

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
        """Stages after those common to all volumes, of the samples that are predicted."""
        found = (stage.name for sample in self.predicted for stage in self.stages(sample))
        return tuple(dict.fromkeys(name for name in found if name not in SHARED))

    @property
    def studied(self) -> StudySettings:
        """The study; `KeyError` if the config names none."""
        if self.study is None:
            raise KeyError("study")
        return self.study

    def weight_files(self, sample: str, *, context: bool = False) -> list[str]:
        """Return the weight files of a sample's backbone, or of its context's backbone."""
        recipe = self.recipe(sample)
        if not context:
            return weight_files(recipe.backbone)
        return [] if recipe.context is None else weight_files(recipe.context.backbone)

    def weights_of(self, backbone: BackboneSpec) -> list[str]:
        """Return the weight files of a backbone."""
        return weight_files(backbone)

    @property
    def outcome(self) -> str:
        """Sentence that says where the results are."""
        report = Path(self.settings.results) / "report.html"
        if self.predicted:
            if report.is_file():
                return f"The report of all samples is {report}"
            return f"The results are in {self.settings.results}"
        return f"The trained models are {', '.join(self.trained)}"

    @property
    def notices(self) -> tuple[str, ...]:
        """Notes for readers of the results: a sentence for each override."""
        return tuple(
            f"task {name} overrides the {field} of {self.settings.tasks[name].model}: {value}"
            for name in self.recipes
            for field, value in self.settings.tasks[name].overrides.given.items()
        )

    def require_hashable(self) -> None:
        """Check that Snakemake can hash all sources, as its shared cache requires.

        Raises
        ------
        ConfigError
            If the source of a volume is a folder: Snakemake hashes files only. Results of other
            samples are identified by their inputs, and tiles have no stored features to share.
        """
        for sample in self.samples.values():
            if referred(sample.source) is not None or self.layout(sample.name) == "tiles":
                continue
            for path in self.files(sample.name)["source"]:
                if Path(path).is_dir() and not is_phantom(path, self.settings.results):
                    raise ConfigError(
                        f"{self.settings.samples}:{sample.line}: --cache cannot hash the content "
                        f"of {path}, the source of sample {sample.name!r}, since Snakemake hashes "
                        "files only: run without --cache, or give a file or a pattern of slices"
                    )
