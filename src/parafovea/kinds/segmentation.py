"""Segmentation: every voxel is of one class, and the voxels of a class make objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parafovea.kinds.kind import Kind

if TYPE_CHECKING:
    from parafovea.settings.recipe import Recipe


def _check(recipe: Recipe) -> None:
    if len(recipe.classes) < 2:
        raise ValueError(
            f"classes are {', '.join(recipe.classes)}, but a segmentation has at least 2, the "
            "background first: name them, or set kind: detection"
        )


KIND = Kind(
    name="segmentation",
    meaning="classes and objects",
    scores="every voxel is of one class (softmax)",
    classes="class names, the first is the background, at least 2",
    exclusive=True,
    check_recipe=_check,
    stages={"volume": (), "tiles": ()},
    metrics="parafovea.quality.metrics:metric_names",
    objective="parafovea.training.objectives.segmentation:SegmentationObjective",
)
