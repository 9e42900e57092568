"""Refinement: the bands of an image, improved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parafovea.kinds.kind import Kind

if TYPE_CHECKING:
    from parafovea.settings.recipe import Recipe


def _check(recipe: Recipe) -> None:
    if recipe.network.output != "labels":
        raise ValueError(f"a refinement has no {recipe.network.output}: set network.output: labels")
    if recipe.normalization.method != "none":
        raise ValueError(
            "a refinement keeps the values of its input, but normalization.method is "
            f"{recipe.normalization.method}: set it to none"
        )
    missing = [name for name in recipe.classes if name not in recipe.bands]
    if recipe.residual and missing:
        raise ValueError(
            f"a residual needs the input's own bands, but {', '.join(missing)} of the output "
            f"is not one of {', '.join(recipe.bands) or 'no bands'}: add it to `bands`, or set "
            "residual: false"
        )
    if recipe.residual and not recipe.raw_input:
        raise ValueError("a residual is added to the input: set raw_input: true")


KIND = Kind(
    name="refinement",
    meaning="the same bands, improved",
    scores="reflectances, or others of the range 0 to 1",
    classes="the output's bands",
    residual=True,
    check_recipe=_check,
    stages={"volume": (), "tiles": ()},
    metrics="parafovea.quality.tiles.metric_names:folder_names",
    objective="parafovea.training.objectives.refinement:RefinementObjective",
    images_are_tiles=True,
)
