"""Settings of a study: models trained and scored alike, which differ in one respect."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from parafovea.config.sheet import Sample
from parafovea.settings.field_types import Strict
from parafovea.settings.recipe import TrainingRecipe
from parafovea.settings.training import TrainingSettings


@dataclass(frozen=True, slots=True)
class Variant:
    """A model of a study, which is trained once per seed.

    Parameters
    ----------
    name : str
        Name in file names.
    facts : mapping of str to str or int
        What distinguishes it from the others, by column of the table.
    recipe : TrainingRecipe
        Recipe of the model.
    features, context : str
        Names of its local view and of its context view, which variants share; "" without context.
    """

    name: str
    facts: Mapping[str, str | int]
    recipe: TrainingRecipe
    features: str
    context: str = ""


class StudySettings(Strict):
    """Models that differ in one respect, trained on some samples and scored on others."""

    #: Stage that draws the scores.
    drawn_by: ClassVar[str]
    #: Whether the samples are phantoms, and not samples of the sheet.
    on_phantoms: ClassVar[bool]

    training: TrainingSettings = Field(
        description="Training settings of all models except what the study compares and the seed."
    )
    test: tuple[str, ...] = Field(min_length=1, description="Test samples, unseen in training.")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0, 1, 2), min_length=1, description="Seeds; every model is trained once per seed."
    )

    @model_validator(mode="after")
    def _unseen(self) -> Self:
        learned = {*self.training.samples, *self.training.validation}
        if both := sorted(learned & {*self.test}):
            raise ValueError(f"{', '.join(both)} cannot be used for both training and test")
        if self.training.recipe.context is None:
            raise ValueError("training.recipe needs a context, which the variants change")
        if self.training.start is not None:
            raise ValueError(
                "training.start does not apply to a study, whose networks differ: remove it"
            )
        return self

    @property
    @abstractmethod
    def variants(self) -> tuple[Variant, ...]:
        """All models of the study."""

    @property
    @abstractmethod
    def drawing(self) -> dict[str, Any]:
        """Arguments of the stage that draws the scores."""

    @property
    def members(self) -> tuple[str, ...]:
        """Samples for training, validation and test."""
        return (*self.training.samples, *self.training.validation, *self.test)

    def problems(self, samples: Mapping[str, Sample]) -> list[str]:
        """Return what does not fit the samples of the sheet, by name."""
        return []

    def variant(self, name: str) -> Variant:
        """Return a variant by name."""
        return next(variant for variant in self.variants if variant.name == name)

    def recipe_of_view(self, view: str, *, context: bool = False) -> TrainingRecipe:
        """Return a recipe with a local view, or a context view, of that name."""
        return next(
            variant.recipe
            for variant in self.variants
            if view == (variant.context if context else variant.features)
        )

    def training_of(self, variant: Variant, seed: int) -> TrainingSettings:
        """Return the training settings of a model of the study."""
        return self.training.model_copy(update={"recipe": variant.recipe, "seed": seed})
