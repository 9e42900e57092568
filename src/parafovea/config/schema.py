"""The config as pydantic models, which define keys, defaults and allowed values."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model, field_validator, model_validator

from parafovea.chain.division import MOST_BLOCKS
from parafovea.config.dicom_output import writes_dicom
from parafovea.errors import quoted
from parafovea.geometry.grid import METRES
from parafovea.kinds.kind import kind_named, kinds
from parafovea.kinds.reference import resolve
from parafovea.runtime.names import folder_problem, hidden_character, same_folder
from parafovea.settings.field_types import NonEmpty, PositiveInt, ShapeTuple, SpacingTuple, Strict
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.pacs import PacsSettings
from parafovea.settings.quality import QualitySettings
from parafovea.settings.recipe import KindName, Overrides
from parafovea.settings.report import CohortReportSettings, TileReportSettings
from parafovea.settings.training import TrainingSettings

#: Default kind of a task.
DEFAULT_KIND: Any = next(iter(kinds()))


class PhantomSettings(Strict):
    """Phantom volumes of one kind, made when a sample uses them."""

    shape: ShapeTuple = Field((96, 192, 192), description="Voxels along z, y, x.")
    spacing: SpacingTuple = Field((16.0, 16.0, 16.0), description="Voxel size along z, y, x.")
    unit: str = Field("nanometer", description="Unit of the spacing.")

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, unit: str) -> str:
        if unit not in METRES:
            raise ValueError(f"unit {unit!r} is not known: use one of {', '.join(METRES)}")
        return unit


class ChestSettings(PhantomSettings):
    """Phantom chest scans."""

    shape: ShapeTuple = Field((96, 160, 160), description="Voxels along z, y, x.")
    spacing: SpacingTuple = Field((3.0, 2.2, 2.2), description="Voxel size along z, y, x.")
    unit: str = Field("millimeter", description="Unit of the spacing.")
    variety: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Chance and strength of what real scans have and a plain phantom lacks: other "
        "kernels, doses, slices (the number of planes then differs) and tissues, contrast agent, "
        "other kinds of lesions, masses, and what only looks like a lesion.",
    )


class PatientSettings(ChestSettings):
    """Phantom chest scans that vary as those of patients do."""

    variety: float = Field(0.7, ge=0, le=1, description="As of a chest.")


class LandscapeSettings(Strict):
    """Folders of tiles of one kind, cut from phantom landscapes."""

    tiles: list[PositiveInt] = Field(
        [16, 8], min_length=1, description="Number of tiles of each size."
    )
    sizes: list[Annotated[int, Field(ge=16, le=4096)]] = Field(
        [128, 96], min_length=1, description="Side of the tiles of each size, in pixels."
    )
    pixel_size: float = Field(10.0, ge=1, le=100, description="Side of a pixel, in metres.")
    variety: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Chance and strength of what is rare in a phantom and common in real images: "
        "clouds, muddy floods, glint, haze, unusual light.",
    )

    @model_validator(mode="after")
    def _one_number_a_size(self) -> LandscapeSettings:
        if len(self.tiles) != len(self.sizes):
            raise ValueError(
                f"tiles {self.tiles} and sizes {self.sizes} differ in length: give a number of "
                "tiles for each size"
            )
        return self


class SceneSettings(LandscapeSettings):
    """Folders of tiles of one size, for training."""

    tiles: list[PositiveInt] = Field(
        [64], min_length=1, description="Number of tiles of each size."
    )
    sizes: list[Annotated[int, Field(ge=16, le=4096)]] = Field(
        [128], min_length=1, description="Side of the tiles of each size, in pixels."
    )


class Phantoms(Strict):
    """Phantoms that samples can use, by kind."""

    cell: PhantomSettings = PhantomSettings()
    chest: ChestSettings = ChestSettings()
    patient: PatientSettings = PatientSettings()
    landscape: LandscapeSettings = LandscapeSettings()
    scene: SceneSettings = SceneSettings()

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """Return the names of the kinds."""
        return tuple(cls.model_fields)

    def of(self, kind: str) -> PhantomSettings | LandscapeSettings:
        """Return the settings of a kind."""
        found: PhantomSettings | LandscapeSettings = getattr(self, kind)
        return found


#: Default sizes of the phantom volumes, by kind.
PHANTOM_SIZES: dict[Literal["cell", "chest", "patient"], PhantomSettings] = {
    "cell": PhantomSettings(),
    "chest": ChestSettings(),
    "patient": PatientSettings(),
}


class InputSettings(Strict):
    """Reading of sources."""

    nonfinite: Literal["error"] | float = Field(
        "error",
        description="Handling of NaN and infinite voxels: `error` stops the sample; a number, in "
        "source values, replaces them.",
    )


class TileSettings(Strict):
    """Processing of folders of tiles."""

    overwrite: bool = Field(
        False,
        description="Predict finished tiles again. By default, complete tiles made by the same "
        "model and settings from the same input are kept.",
    )
    strict: bool = Field(
        False,
        description="Fail at an invalid tile; otherwise it is listed in quarantine.tsv with its "
        "reason, and the other tiles are processed.",
    )


class Task(Strict):
    """A model and the processing of its predictions."""

    kind: KindName = Field(
        DEFAULT_KIND,
        description="Kind of result: "
        + "; ".join(f"`{kind.name}`, {kind.meaning}" for kind in kinds().values())
        + ". The model must be of this kind.",
    )
    model: NonEmpty = Field(description="Model folder: model.json and model.safetensors.")
    overrides: Overrides = Overrides()
    input: InputSettings = InputSettings()
    tiles: TileSettings = TileSettings()
    inference: InferenceSettings = InferenceSettings()
    blocks: Annotated[int, Field(ge=1, le=MOST_BLOCKS)] | Literal["auto"] = Field(
        "auto",
        description="Number of blocks of a volume: each stage but inference is a job a block, and "
        "results do not depend on it. auto: by `voxels_per_block`. The sheet's column takes "
        "precedence.",
    )
    voxels_per_block: Annotated[float, Field(ge=1)] = Field(
        2e9,
        description="For `blocks: auto`: maximum number of voxels of a block, on the model's grid.",
    )
    dicom_output: bool = Field(
        False,
        description="Also write the results of a DICOM series as DICOM objects in its study: a "
        "segmentation and a report of measurements (`segmentation.dcm`, `measurements.dcm`).",
    )
    quality: QualitySettings = QualitySettings()
    tile_report: TileReportSettings = TileReportSettings()
    training: TrainingSettings | None = Field(
        None, description="Training of the model folder; null uses the existing folder."
    )
    predict_training: bool = Field(
        False,
        description="Also predict the training and validation samples.",
    )

    @field_validator("model")
    @classmethod
    def _one_spelling(cls, folder: str) -> str:
        return os.path.normpath(folder)

    def block(self, name: str) -> Any:
        """Return the settings of a block, including blocks specific to a kind."""
        return getattr(self, name)

    @model_validator(mode="after")
    def _dicom_output_of_its_kind(self) -> Task:
        if self.dicom_output and not writes_dicom(kind_named(self.kind)):
            raise ValueError(
                f"dicom_output does not apply to a task of kind {self.kind}: remove it"
            )
        return self

    @model_validator(mode="after")
    def _blocks_of_its_kind(self) -> Task:
        for kind in kinds().values():
            given = [name for name in kind.blocks if name in self.model_fields_set]
            if kind is not kind_named(self.kind) and given:
                raise ValueError(
                    f"{' and '.join(given)} does not apply to a task of kind {self.kind}: remove "
                    f"it, or set kind: {kind.name}"
                )
        return self


def _with_blocks() -> type[Task]:
    """Return the task model extended by the blocks of all kinds."""
    models = {name: resolve(ref) for kind in kinds().values() for name, ref in kind.blocks.items()}
    fields: dict[str, Any] = {name: (model, model()) for name, model in models.items()}
    return create_model(
        "TaskOfAnyKind", __base__=Task, __module__=__name__, __doc__=Task.__doc__, **fields
    )


if TYPE_CHECKING:
    TaskOfAnyKind = Task
else:
    TaskOfAnyKind = _with_blocks()


class Settings(Strict):
    """The config."""

    samples: NonEmpty = Field("config/samples.tsv", description="Path of the sample sheet.")
    results: NonEmpty = Field("results", description="Folder of all results.")
    keep_features: bool = Field(
        True, description="Keep features and shards; false deletes them after use."
    )
    report: CohortReportSettings = CohortReportSettings()
    phantoms: Phantoms = Phantoms()
    measured: NonEmpty | None = Field(
        None,
        description="Folder of tables of measured values, from which the target `figures` draws "
        "the figures of the documentation.",
    )
    study: NonEmpty | None = Field(
        None,
        description="Config file of a study of context or of features, drawn by the target "
        "`figures`.",
    )
    pacs: PacsSettings = Field(
        PacsSettings(), description="Exchange with picture archives, of `parafovea pacs`."
    )
    tasks: dict[str, TaskOfAnyKind] = Field(
        min_length=1, description="Tasks by name, as used in the sheet."
    )

    @field_validator("tasks")
    @classmethod
    def _folders(cls, tasks: dict[str, TaskOfAnyKind]) -> dict[str, TaskOfAnyKind]:
        for name in tasks:
            problem = folder_problem(name)
            if problem is not None:
                raise ValueError(f"task {problem}; the results of a task are a folder")
            other = same_folder(name, tasks)
            if other is not None:
                raise ValueError(
                    f"tasks {name!r} and {other!r} differ in upper and lower case alone, and would "
                    "share a folder on some disks: rename one"
                )
        return tasks

    @field_validator("results")
    @classmethod
    def _plain_folder(cls, folder: str) -> str:
        plain = folder.rstrip("/") and os.path.normpath(folder)
        if not plain or any(c in plain for c in "{}<>*?[]") or hidden_character(plain):
            raise ValueError(
                f"folder {quoted(folder)} must be a plain path without {{ }} < > * ? [ ] and "
                "control characters"
            )
        if plain == ".":
            raise ValueError("the folder in which the workflow runs must hold more than results")
        if plain.startswith("~"):
            raise ValueError(f"~ is not replaced in {folder!r}: write the whole path")
        return plain
