"""Settings of the context study: models that differ in their context, on phantoms."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from parafovea.config.study import StudySettings, Variant
from parafovea.errors import quoted
from parafovea.settings.field_types import PositiveInt

Fusion = Literal["attention", "concat", "none"]
_PHANTOM = re.compile(r"cell_seed\d+")


class ContextStudySettings(StudySettings):
    """A comparison of models that differ only in their context; samples are phantoms."""

    drawn_by: ClassVar[str] = "plot_context_study"
    on_phantoms: ClassVar[bool] = True

    ratios: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (2, 4, 8),
        min_length=1,
        description="Ratios of context spacing to local spacing to compare.",
    )
    ratio: PositiveInt = Field(4, description="Ratio at which fusions are compared.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.training.recipe.exclusive:
            raise ValueError(
                f"the study compares the IoU of classes, which a {self.training.recipe.kind} does "
                "not predict: set training.recipe.kind: segmentation"
            )
        if self.ratio not in self.ratios:
            raise ValueError(f"ratio {self.ratio} must be one of ratios {self.ratios}")
        for name in self.members:
            if _PHANTOM.fullmatch(name) is None:
                raise ValueError(f"{quoted(name)} is not a phantom such as cell_seed201")
        return self

    @property
    def drawing(self) -> dict[str, Any]:
        """Arguments of the stage that draws the scores."""
        return {"ratio": self.ratio}

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All models: no context, concatenation, and attention at each ratio."""
        attention = [self._variant("attention", ratio) for ratio in self.ratios]
        return (self._variant("none", 1), self._variant("concat", self.ratio), *attention)

    def _variant(self, fusion: Fusion, ratio: int) -> Variant:
        recipe = self.training.recipe
        context = recipe.context
        if fusion == "none":
            context = None
        elif context is not None:
            z, y, x = recipe.spacing
            spacing = (z * ratio, y * ratio, x * ratio)
            context = context.model_copy(update={"spacing": spacing})
        network = recipe.network.model_copy(update={"fusion": fusion})
        return Variant(
            name=fusion if context is None else f"{fusion}{ratio}",
            facts={"fusion": fusion, "ratio": ratio},
            recipe=recipe.model_copy(update={"network": network, "context": context}),
            features="local",
            context="" if context is None else str(ratio),
        )
