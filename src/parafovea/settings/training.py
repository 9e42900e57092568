"""The choices of training, as they stand in a task of the config."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from parafovea.kinds import kind_named
from parafovea.settings.recipe import PositiveFloat, PositiveInt, Recipe, Strict


class AugmentationSettings(Strict):
    """How windows are changed at random before the network learns from them."""

    mirror: bool = Field(
        True,
        description="Mirror along y and x (z in 3D), and swap y and x where both are alike.",
    )
    rotate: bool = Field(False, description="Turn by any angle in the xy plane.")
    zoom: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Largest enlargement, as a share; as much smaller at the other end."
    )
    elastic: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Standard deviation of a smooth random displacement, in voxels."
    )
    jitter: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1,
        description="Random gain and offset of each input channel: their standard deviation, "
        "relative to the channel's own.",
    )


class TrainingSettings(Strict):
    """What to train a model on, and for how long."""

    recipe: Recipe = Field(description="Everything about the model but its weights.")
    samples: tuple[str, ...] = Field(
        min_length=1, description="Samples of the sheet to learn from."
    )
    validation: tuple[str, ...] = Field(
        min_length=1, description="Samples of the sheet that choose the best checkpoint."
    )
    steps: PositiveInt = Field(1000, description="Optimizer steps.")
    batch_size: PositiveInt = Field(2, description="Windows in one step.")
    learning_rate: PositiveFloat = Field(2e-3, description="Peak of the one-cycle schedule.")
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    foreground: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Share of windows that are centred on a voxel of a random other class."
    )
    body: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="Detection only: share of the other windows that hold a voxel of the body "
        "(what is not air around it); the rest lies anywhere.",
    )
    validate_every: PositiveInt = Field(100, description="Steps between two validations.")
    augmentation: AugmentationSettings = AugmentationSettings()
    seed: int = Field(0, ge=0, description="Of the initial weights and of every random choice.")

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
                f"augmentation.{given[0]} interpolates pixels, which would blur the bands that "
                f"a {self.recipe.kind} has to reach: leave {' and '.join(given)} out"
            )
        return self

    @model_validator(mode="after")
    def _turnable(self) -> TrainingSettings:
        _, y, x = self.recipe.spacing
        if self.augmentation.rotate and y != x:
            raise ValueError(
                f"augmentation.rotate needs square pixels, but the recipe's are {y:g} by {x:g} "
                f"{self.recipe.unit}: set rotate to false"
            )
        return self
