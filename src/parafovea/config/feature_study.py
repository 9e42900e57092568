"""Settings of a feature study: models that differ in their features, on samples of the sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError

from parafovea.config.sheet import Sample
from parafovea.config.study import StudySettings, Variant
from parafovea.errors import ModelError, quoted
from parafovea.settings.backbones.model_inputs import check_backbone
from parafovea.settings.field_types import Strict
from parafovea.settings.recipe import BackboneSpec, TrainingRecipe

FeatureName = Annotated[str, Field(pattern="^[a-z][a-z0-9]*$", max_length=40)]


class FeatureChoice(Strict):
    """Features that the local view and the context view of a model are made of."""

    backbone: BackboneSpec = Field(description="Backbone of both views.")
    raw_input: bool = Field(
        True, description="Use the voxels at full resolution as input beside the features."
    )


class FeatureStudySettings(StudySettings):
    """A comparison of features, each with and without context; samples are those of the sheet."""

    drawn_by: ClassVar[str] = "plot_feature_study"
    on_phantoms: ClassVar[bool] = False

    features: dict[FeatureName, FeatureChoice] = Field(
        min_length=1, description="Features to compare, by a name of your choice."
    )
    metrics: tuple[str, ...] = Field(
        min_length=1,
        description="Scores in the figure: iou.CLASS, precision.CLASS or recall.CLASS of a "
        "segmentation; psnr, rmse, ndvi_rmse or rmse.BAND of a refinement.",
    )

    def problems(self, samples: Mapping[str, Sample]) -> list[str]:
        """Return members that are not in the sheet or have no truth, and features that do not fit.

        Parameters
        ----------
        samples : mapping of str to Sample
            Samples of the sheet by name.
        """
        found = []
        for name in self.members:
            if name not in samples:
                found.append(f"sample {quoted(name)} is not in the sheet: add its line")
            elif samples[name].truth is None:
                found.append(f"sample {name!r} has no truth: a study learns from it or scores it")
        for variant in self.variants:
            try:
                recipe = TrainingRecipe.model_validate(variant.recipe.model_dump())
                for backbone in recipe.backbones:
                    check_backbone(backbone, recipe)
            except ModelError as error:
                found.append(f"features.{variant.features}: {error}")
            except ValidationError as error:
                reasons = (each["msg"].removeprefix("Value error, ") for each in error.errors())
                found.append(f"features.{variant.features}: {'; '.join(reasons)}")
        return list(dict.fromkeys(found))

    @property
    def drawing(self) -> dict[str, Any]:
        """Arguments of the stage that draws the scores."""
        return {"metrics": list(self.metrics)}

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Two models for all features: without context, and with that of the recipe."""
        return tuple(
            self._variant(name, choice, context)
            for name, choice in self.features.items()
            for context in (False, True)
        )

    def _variant(self, name: str, choice: FeatureChoice, wide: bool) -> Variant:
        recipe = self.training.recipe
        context, fusion = None, "none"
        if wide and recipe.context is not None:
            context = recipe.context.model_copy(update={"backbone": choice.backbone})
            fusion = recipe.network.fusion
        changes = {
            "backbone": choice.backbone,
            "raw_input": choice.raw_input,
            "context": context,
            "network": recipe.network.model_copy(update={"fusion": fusion}),
        }
        return Variant(
            name=f"{name}_context" if wide else name,
            facts={"features": name, "context": fusion},
            recipe=recipe.model_copy(update=changes),
            features=name,
            context=name if wide else "",
        )
