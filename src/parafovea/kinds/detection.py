"""Detection: a heatmap of each thing to find in a scan, and the findings in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parafovea.kinds.kind import Kind

if TYPE_CHECKING:
    from parafovea.settings.recipe import Recipe


def _check(recipe: Recipe) -> None:
    if recipe.network.output != "labels":
        raise ValueError(f"a detection has no {recipe.network.output}: set network.output: labels")


KIND = Kind(
    name="detection",
    meaning="a heatmap and the detections in it",
    scores="a heatmap for each thing to find (sigmoid)",
    classes="names of what is found, without a background",
    check_recipe=_check,
    stages={"volume": ()},
    metrics="parafovea.quality.metrics:metric_names",
    objective="parafovea.training.objectives.detection:DetectionObjective",
    tables_as_truth=True,
    skips_empty=True,
)
