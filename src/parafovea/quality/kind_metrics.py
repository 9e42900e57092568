"""Names of the metrics of each kind, which limits may refer to; torch-free."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from parafovea.kinds.kind import LayoutName
from parafovea.quality.detections.detection_metrics import PATHS_BY_RULE
from parafovea.quality.metrics import metric_names
from parafovea.quality.segmentation.segmentation_metrics import segmentation_paths
from parafovea.quality.tiles.refined import RefinedTiles
from parafovea.quality.tiles.segmented import SegmentedTiles
from parafovea.settings.postprocess import resolve_classes

if TYPE_CHECKING:
    from parafovea.settings.recipe import Recipe


def segmentation_metrics(recipe: Recipe, task: Any, layouts: Set[LayoutName]) -> tuple[str, ...]:
    """Return the metric names of a segmentation for the layouts of its samples.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the model.
    task : Task
        Settings of the task.
    layouts : set of str
        Layouts of its samples.
    """
    settled = resolve_classes(task.block("postprocess").classes, recipe.classes)
    classes = zip(recipe.classes[1:], settled, strict=True)
    instances = [label for label, each in classes if each.instances]
    paths = list(segmentation_paths(recipe.classes, instances)) if "volume" in layouts else []
    if "tiles" in layouts:
        paths += SegmentedTiles(recipe.classes, recipe.bands).folder_paths
    return metric_names(dict.fromkeys(paths))


def detection_metrics(recipe: Recipe, task: Any, layouts: Set[LayoutName]) -> tuple[str, ...]:
    """Return the metric names of a detection, as `segmentation_metrics`."""
    return metric_names(PATHS_BY_RULE[task.block("scoring").rule])


def refinement_metrics(recipe: Recipe, task: Any, layouts: Set[LayoutName]) -> tuple[str, ...]:
    """Return the metric names of a refinement, as `segmentation_metrics`."""
    return metric_names(RefinedTiles(recipe.classes, recipe.bands).folder_paths)
