"""Training settings of a task."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from parafovea.kinds import kind_named
from parafovea.settings.backbones.raw import sees_neighbours
from parafovea.settings.field_types import NonEmpty, PositiveFloat, PositiveInt, Strict
from parafovea.settings.recipe import Recipe, TrainingRecipe


class AugmentationSettings(Strict):
    """Random augmentation of training windows."""

    mirror: bool = Field(
        True,
        description="Flip along y and x (z in 3D), and swap y and x if their spacing is equal.",
    )
    rotate: bool = Field(False, description="Rotate by any angle in the xy plane.")
    zoom: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Maximum zoom in or out, as a share: 0.2 is up to a factor of 1.2."
    )
    elastic: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Standard deviation of a smooth random displacement, in voxels."
    )
    jitter: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1,
        description="Standard deviation of the random gain and offset of each input channel, "
        "relative to the channel's own.",
    )
    gamma: Annotated[float, Field(ge=0, le=2)] = Field(
        0.0,
        description="Standard deviation of the logarithm of a random exponent of the voxels. Like "
        "`noise` and `blur`, for `raw_input` and the backbone `raw`: other features are computed "
        "once, from unchanged voxels.",
    )
    noise: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Maximum standard deviation of random noise, for normalized voxels; half of "
        "the windows have some.",
    )
    blur: Annotated[float, Field(ge=0, le=16)] = Field(
        0.0,
        description="Maximum sigma of a Gaussian blur, in voxels, within planes in 2 dimensions; a "
        "third of the windows is blurred.",
    )
    missing_planes: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0,
        description="For the `neighbours` of the backbone `raw`: share of windows whose section "
        "counts as the first, the last or the only one of its volume, a third each.",
    )


class TrainingSettings(Strict):
    """Training data and schedule of a model."""

    recipe: TrainingRecipe = Field(description="Everything about the model except its weights.")
    samples: tuple[str, ...] = Field(
        min_length=1, description="Training samples, by their name in the sheet."
    )
    validation: tuple[str, ...] = Field(
        min_length=1, description="Validation samples, which select the best checkpoint."
    )
    start: NonEmpty | None = Field(
        None,
        description="Model folder whose weights the training starts from (fine-tuning), with the "
        "same network and features; for other classes, its last layer is new. It may be trained by "
        "another task. By default, weights are random.",
    )
    steps: PositiveInt = Field(1000, description="Optimizer steps.")
    batch_size: PositiveInt = Field(2, description="Windows per step.")
    learning_rate: PositiveFloat = Field(2e-3, description="Peak of the one-cycle schedule.")
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    averaging: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Share that remains at each step of a running average of the weights, which is "
        "then the model: 0.99 averages about 100 steps; 0: no averaging.",
    )
    foreground: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Share of windows centred on a voxel of a random non-background class."
    )
    body: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="Detection only: share of the other windows that contain a voxel of the body; "
        "the rest is placed anywhere.",
    )
    batch_dice: bool = Field(
        False,
        description="Segmentation only: compute the Dice of a class over all windows of a step "
        "together instead of over each. A window with a few voxels of a class then matters less.",
    )
    validate_every: PositiveInt = Field(100, description="Steps between validations.")
    augmentation: AugmentationSettings = AugmentationSettings()
    seed: int = Field(0, ge=0, description="Seed of the initial weights and all random choices.")

    @field_validator("start")
    @classmethod
    def _one_spelling(cls, folder: str | None) -> str | None:
        return None if folder is None else os.path.normpath(folder)

    @field_validator("recipe", mode="before")
    @classmethod
    def _by_values(cls, recipe: Any) -> Any:
        """Take the recipe of a model by its values; a network that cannot be trained is refused."""
        if not isinstance(recipe, Recipe) or isinstance(recipe, TrainingRecipe):
            return recipe
        return recipe.model_dump(include=set(Recipe.model_fields))

    @model_validator(mode="after")
    def _trainable(self) -> TrainingSettings:
        if kind_named(self.recipe.kind).objective is None:
            raise ValueError(
                f"models of kind {self.recipe.kind} cannot be trained here: leave `training` out "
                "and name a model folder that is trained"
            )
        return self

    @model_validator(mode="after")
    def _measures_classes(self) -> TrainingSettings:
        kind = kind_named(self.recipe.kind)
        if self.batch_dice and not kind.exclusive:
            raise ValueError(f"batch_dice is for segmentations, not for a {kind.name}: remove it")
        return self

    @model_validator(mode="after")
    def _keeps_pixels(self) -> TrainingSettings:
        warps = ("rotate", "zoom", "elastic")
        given = [name for name in warps if getattr(self.augmentation, name)]
        if self.recipe.output_bands and given:
            raise ValueError(
                f"augmentation.{given[0]} interpolates pixels, which blurs the target of a "
                f"{self.recipe.kind}: remove {' and '.join(given)}"
            )
        return self

    @model_validator(mode="after")
    def _redevelops_voxels(self) -> TrainingSettings:
        given = [name for name in ("gamma", "noise", "blur") if getattr(self.augmentation, name)]
        views = self.recipe.backbones
        voxels = self.recipe.raw_input or any(view.name == "raw" for view in views)
        if given and self.recipe.output_bands:
            raise ValueError(
                f"augmentation.{given[0]} changes the bands that a {self.recipe.kind} is to "
                f"return: remove {' and '.join(given)}"
            )
        if given and not voxels:
            raise ValueError(
                f"augmentation.{given[0]} changes voxels, but the network takes features of "
                f"{self.recipe.backbone.name} alone: set raw_input: true, or backbone.name: raw"
            )
        if self.augmentation.missing_planes and not any(map(sees_neighbours, views)):
            raise ValueError(
                f"augmentation.missing_planes ({self.augmentation.missing_planes:g}) is for "
                "neighbouring planes, which the network does not take: remove it, or set backbone: "
                "{name: raw, arguments: {neighbours: 1}}"
            )
        return self

    @model_validator(mode="after")
    def _turnable(self) -> TrainingSettings:
        _, y, x = self.recipe.spacing
        if self.augmentation.rotate and y != x:
            raise ValueError(
                f"augmentation.rotate requires square pixels, but the recipe's are {y:g} by {x:g} "
                f"{self.recipe.unit}: set rotate to false"
            )
        return self
