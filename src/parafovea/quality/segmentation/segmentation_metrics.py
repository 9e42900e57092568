"""Names of the metrics of a segmented volume; torch-free, since the config uses them."""

from __future__ import annotations

from collections.abc import Sequence

from parafovea.geometry.grid import AXES
from parafovea.quality.metrics import COVERAGE, MEMORY, OVERALL, Path

#: Metrics of a class, from the confusion matrix.
OVERLAP = ("iou", "dice", "precision", "recall")
#: Metrics of a class's objects.
PANOPTIC = ("tp", "fp", "fn", "rq", "sq", "pq")


def segmentation_paths(classes: Sequence[str], instances: Sequence[str]) -> tuple[Path, ...]:
    """Return the paths of all metrics of a segmentation, in the order of its table.

    Parameters
    ----------
    classes : sequence of str
        All class names, the background first.
    instances : sequence of str
        Names of the classes whose objects are numbered.
    """
    return (
        *COVERAGE,
        *MEMORY,
        *(("seam_energy", part) for part in (OVERALL, *AXES)),
        ("entropy",),
        *overlap_paths(classes),
        ("voi", "split"),
        ("voi", "merge"),
        ("arand", "error"),
        ("arand", "precision"),
        ("arand", "recall"),
        *(("panoptic", name, metric) for name in instances for metric in PANOPTIC),
    )


def overlap_paths(classes: Sequence[str]) -> tuple[Path, ...]:
    """Return the paths of the confusion matrix's metrics: overall, then of each class."""
    return tuple((metric, part) for metric in OVERLAP for part in (OVERALL, *classes))
