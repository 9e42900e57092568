"""Settings of the context study: the models it trains, and on which phantoms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from parafovea.errors import quoted
from parafovea.settings.field_types import PositiveInt, Strict
from parafovea.settings.training import TrainingSettings

Fusion = Literal["attention", "concat", "none"]
_PHANTOM = re.compile(r"cell_seed\d+")
PhantomName = Annotated[str, Field(pattern=f"^{_PHANTOM.pattern}$")]


@dataclass(frozen=True, slots=True)
class Variant:
    """A model of the comparison; `str` gives its name in file names.

    Parameters
    ----------
    fusion : {"attention", "concat", "none"}
        Fusion of the context.
    ratio : int
        Context spacing over local spacing; 1 without context.
    """

    fusion: Fusion
    ratio: int

    def __str__(self) -> str:
        """Return fusion and ratio as one name."""
        return self.fusion if self.fusion == "none" else f"{self.fusion}{self.ratio}"


class StudySettings(Strict):
    """A comparison of models that differ only in their context."""

    training: TrainingSettings = Field(
        description="Training settings of all models except fusion, context spacing and seed; the "
        "samples are phantoms, such as cell_seed201."
    )
    test: tuple[PhantomName, ...] = Field(
        min_length=1, description="Test phantoms, unseen in training."
    )
    ratios: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (2, 4, 8),
        min_length=1,
        description="Ratios of context spacing to local spacing to compare.",
    )
    ratio: PositiveInt = Field(4, description="Ratio at which fusions are compared.")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0, 1, 2), min_length=1, description="Seeds; every model is trained once per seed."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ratio not in self.ratios:
            raise ValueError(f"ratio {self.ratio} must be one of ratios {self.ratios}")
        if self.training.recipe.context is None:
            raise ValueError("training.recipe needs a context, which the variants change")
        for name in (*self.training.samples, *self.training.validation):
            if _PHANTOM.fullmatch(name) is None:
                raise ValueError(f"{quoted(name)} is not a phantom such as cell_seed201")
        seen = {*self.training.samples, *self.training.validation}
        if both := sorted(seen & {*self.test}):
            raise ValueError(f"{', '.join(both)} cannot be used for both training and test")
        return self

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All models of the study: no context, concatenation, and attention at each ratio."""
        attention = [Variant("attention", ratio) for ratio in self.ratios]
        return (Variant("none", 1), Variant("concat", self.ratio), *attention)

    @property
    def phantoms(self) -> tuple[str, ...]:
        """Phantoms for training, validation and test."""
        return (*self.training.samples, *self.training.validation, *self.test)

    def variant(self, name: str) -> Variant:
        """Return a variant by name."""
        return next(variant for variant in self.variants if str(variant) == name)

    @property
    def concentric_window(self) -> tuple[int, int, int] | None:
        """Window that concentric context must cover; None for registered context."""
        recipe = self.training.recipe
        return None if recipe.context_ratio is None else recipe.window

    def context_spacing(self, ratio: int) -> tuple[float, float, float]:
        """Return the context's voxel size along z, y, x."""
        z, y, x = self.training.recipe.spacing
        return (z * ratio, y * ratio, x * ratio)

    def training_of(self, variant: Variant, seed: int) -> TrainingSettings:
        """Return the training settings of a model of the study."""
        recipe = self.training.recipe
        context = recipe.context
        if variant.fusion == "none":
            context = None
        elif context is not None:
            spacing = self.context_spacing(variant.ratio)
            context = context.model_copy(update={"spacing": spacing})
        network = recipe.network.model_copy(update={"fusion": variant.fusion})
        recipe = recipe.model_copy(update={"network": network, "context": context})
        return self.training.model_copy(update={"recipe": recipe, "seed": seed})

    def plan(self, name: str, seed: int, results: str) -> dict[str, Any]:
        """Return the settings and samples of a model of the study, JSON-serializable.

        Parameters
        ----------
        name : str
            Name of the variant.
        seed : int
            One of `seeds`.
        results : str
            Results folder.

        Returns
        -------
        dict
            Training `settings`, `facts` that identify the model, and for `training` and `test`
            samples each a dict of `samples` (name, truth, metadata), `volumes`, `features`,
            `contexts`, `truths`.
        """
        variant = self.variant(name)
        learned = (*self.training.samples, *self.training.validation)
        return {
            "settings": self.training_of(variant, seed).model_dump(mode="json"),
            "facts": {"fusion": variant.fusion, "ratio": variant.ratio, "seed": seed},
            "training": _files(learned, variant, results),
            "test": _files(self.test, variant, results),
        }


def _files(phantoms: tuple[str, ...], variant: Variant, results: str) -> dict[str, Any]:
    """Return the files of phantoms for a model of the study."""
    truths = [f"{results}/phantoms/{name}_truth.ome.zarr" for name in phantoms]
    folders = [f"{results}/study/{name}" for name in phantoms]
    contexts = [f"{folder}/context_{variant.ratio}.zarr" for folder in folders]
    return {
        "samples": [
            {"name": name, "truth": truth, "metadata": ""}
            for name, truth in zip(phantoms, truths, strict=True)
        ],
        "volumes": [f"{folder}/volume.ome.zarr" for folder in folders],
        "features": [f"{folder}/features.zarr" for folder in folders],
        "contexts": [] if variant.fusion == "none" else contexts,
        "truths": truths,
    }
