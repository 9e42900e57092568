"""Training settings of a task."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from parafovea.kinds import kind_named
from parafovea.settings.field_types import PositiveFloat, PositiveInt, Strict
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


class TrainingSettings(Strict):
    """Training data and schedule of a model."""

    recipe: TrainingRecipe = Field(description="Everything about the model except its weights.")
    samples: tuple[str, ...] = Field(
        min_length=1, description="Training samples, by their name in the sheet."
    )
    validation: tuple[str, ...] = Field(
        min_length=1, description="Validation samples, which select the best checkpoint."
    )
    steps: PositiveInt = Field(1000, description="Optimizer steps.")
    batch_size: PositiveInt = Field(2, description="Windows per step.")
    learning_rate: PositiveFloat = Field(2e-3, description="Peak of the one-cycle schedule.")
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    foreground: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Share of windows centred on a voxel of a random non-background class."
    )
    body: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="Detection only: share of the other windows that contain a voxel of the body; "
        "the rest is placed anywhere.",
    )
    validate_every: PositiveInt = Field(100, description="Steps between validations.")
    augmentation: AugmentationSettings = AugmentationSettings()
    seed: int = Field(0, ge=0, description="Seed of the initial weights and all random choices.")

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
    def _turnable(self) -> TrainingSettings:
        _, y, x = self.recipe.spacing
        if self.augmentation.rotate and y != x:
            raise ValueError(
                f"augmentation.rotate requires square pixels, but the recipe's are {y:g} by {x:g} "
                f"{self.recipe.unit}: set rotate to false"
            )
        return self
