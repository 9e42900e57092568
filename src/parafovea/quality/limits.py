"""Which metrics the limits of a task may name, by what its kind measures; nothing heavy here."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from parafovea.kinds.kind import LayoutName
from parafovea.quality.metrics import metric_names
from parafovea.quality.tiles.metric_names import folder_names
from parafovea.settings.postprocess import resolve_classes

if TYPE_CHECKING:
    from parafovea.settings.recipe import Recipe


def segmentation_metrics(recipe: Recipe, task: Any, layouts: Set[LayoutName]) -> tuple[str, ...]:
    """Return the metrics of a segmentation: of volumes and of folders of tiles, where it has any.

    Parameters
    ----------
    recipe : Recipe
        Of its model.
    task : Task
        Its settings.
    layouts : set of str
        How its samples come.
    """
    settled = resolve_classes(task.block("postprocess").classes, recipe.classes)
    classes = zip(recipe.classes[1:], settled, strict=True)
    instances = [label for label, each in classes if each.instances]
    metrics = list(metric_names(recipe.classes, instances)) if "volume" in layouts else []
    metrics += folder_names("segmentation", recipe.classes) if "tiles" in layouts else ()
    return tuple(dict.fromkeys(metrics))


def detection_metrics(recipe: Recipe, task: Any, layouts: Set[LayoutName]) -> tuple[str, ...]:
    """Return the metrics of a detection; as `segmentation_metrics`."""
    return metric_names(recipe.classes, (), kind="detection")


def refinement_metrics(recipe: Recipe, task: Any, layouts: Set[LayoutName]) -> tuple[str, ...]:
    """Return the metrics of a refinement; as `segmentation_metrics`."""
    return folder_names("refinement")
