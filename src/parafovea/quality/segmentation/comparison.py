"""Comparison of a segmentation with its truth, slab by slab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from parafovea.postprocess.segmentation.components import ComponentScan, slabs
from parafovea.quality.metrics import Path, Value
from parafovea.quality.segmentation.contingency import Pairs, count_pairs, main_partner, united
from parafovea.quality.segmentation.object_scores import compare_partitions, panoptic_quality
from parafovea.quality.segmentation.overlap import confusion_matrix, overlap_metrics
from parafovea.quality.truth_on_grid import IGNORED, IGNORED_ID, SampledTruth
from parafovea.storage.store import Stored

Array = np.ndarray[Any, Any]


def compare_with_truth(
    classes: Stored,
    objects: Stored,
    *,
    truth: SampledTruth | None,
    truth_objects: SampledTruth | None,
    names: Sequence[str],
    instances: Sequence[int],
    connectivity: int,
) -> dict[Path, Value]:
    """Return the metrics that need truth.

    Without a volume of true objects, the connected components of the true classes are used. Without
    true classes, true objects belong to the only class with objects; with several such classes, the
    panoptic metrics are omitted.

    Parameters
    ----------
    classes : Stored
        (z, y, x) class indices.
    objects : Stored
        (z, y, x) object ids.
    truth : SampledTruth or None
        True classes, on the same grid.
    truth_objects : SampledTruth or None
        True object ids, on the same grid.
    names : sequence of str
        Class names, the background first.
    instances : sequence of int
        Indices of the classes that have objects.
    connectivity : {6, 18, 26}
        Neighbours of a voxel within a true object.

    Returns
    -------
    dict
        Values by path; empty without truth.
    """
    if truth is None and truth_objects is None:
        return {}
    confusion = np.zeros((len(names), len(names)), np.int64)
    tables = _Tables(connectivity, np.isin(np.arange(len(names)), instances))
    for box in slabs(classes.grid.shape):
        found_classes, found_ids = classes.read(box), objects.read(box)
        true_classes = None if truth is None else truth.read(box)
        true_ids = None if truth_objects is None else truth_objects.read(box)
        if true_classes is not None:
            confusion += _known_confusion(true_classes, found_classes, len(names))
        tables.add(found_classes, found_ids, true_classes, true_ids)
    values: dict[Path, Value] = {}
    if truth is not None:
        values |= overlap_metrics(confusion, names)
    return values | tables.metrics(names, instances)


def prediction_confusion(prediction: Stored, truth: SampledTruth, classes: int) -> Array:
    """Return the confusion matrix of a prediction's most probable classes, slab by slab.

    Parameters
    ----------
    prediction : Stored
        (class, z, y, x) probabilities.
    truth : SampledTruth
        True classes, on the same grid.
    classes : int
        Number of classes.

    Returns
    -------
    (classes, classes) int64
        See `confusion_matrix`.
    """
    confusion = np.zeros((classes, classes), np.int64)
    for box in slabs(prediction.grid.shape):
        found = prediction.read(box).argmax(axis=0)
        confusion += _known_confusion(truth.read(box), found, classes)
    return confusion


def _known_confusion(truth: Array, found: Array, classes: int) -> Array:
    """Return the confusion matrix of the voxels that somebody has labelled."""
    known = truth != IGNORED
    if known.all():
        return confusion_matrix(truth, found, classes)
    return confusion_matrix(truth[known], found[known], classes)


class _Tables:
    """Tables of label pairs, accumulated over slabs."""

    def __init__(self, connectivity: int, has_objects: Array) -> None:
        self._scan = ComponentScan(connectivity)
        self._has_objects = has_objects
        self._ids = united([])
        self._found_classes = united([])
        self._true_classes = united([])
        self._knows_classes = False
        self._scanned = False

    def add(
        self,
        found_classes: Array,
        found_ids: Array,
        true_classes: Array | None,
        true_ids: Array | None,
    ) -> None:
        """Add a slab."""
        offset = 0
        self._knows_classes = true_classes is not None
        known = np.ones(found_ids.shape, bool)
        if true_classes is not None:
            known &= true_classes != IGNORED
            true_classes = np.where(known, true_classes, 0)
        if true_ids is not None:
            known &= true_ids != np.uint64(IGNORED_ID)
        if true_ids is None and true_classes is not None:
            self._scanned = True
            counted = np.where(self._has_objects[true_classes], true_classes, 0).astype(np.uint8)
            true_ids, offset = self._scan.add(counted)
        if true_ids is None:
            return
        if not known.all():
            # voxels that nobody has labelled count neither way
            found_ids, found_classes, true_ids = (
                each[known] for each in (found_ids, found_classes, true_ids)
            )
            true_classes = None if true_classes is None else true_classes[known]
        self._ids = united([self._ids, _shifted(count_pairs(true_ids, found_ids), offset)])
        met = count_pairs(found_ids, found_classes)
        self._found_classes = united([self._found_classes, met])
        if true_classes is not None:
            met = _shifted(count_pairs(true_ids, true_classes), offset)
            self._true_classes = united([self._true_classes, met])

    def metrics(self, names: Sequence[str], instances: Sequence[int]) -> dict[Path, Value]:
        """Return the metrics of objects."""
        ids, true_classes = self._ids, self._true_classes
        if self._scanned:
            # Merge the labels of slabs to components of the volume.
            component = np.concatenate([[0], self._scan.finish().ids]).astype(np.uint64)
            ids, true_classes = _renamed(ids, component), _renamed(true_classes, component)
        true_names, true_class = main_partner(true_classes)
        if self._knows_classes:
            of_class = self._has_objects[true_class]
            true_names, true_class = true_names[of_class], true_class[of_class]
            strange = ~np.isin(ids.first, true_names)
            ids = united([Pairs(np.where(strange, 0, ids.first), ids.second, ids.count)])
        elif len(instances) == 1:
            true_names = np.unique(ids.first[ids.first > 0])
            true_class = np.full(len(true_names), instances[0])
        scores = compare_partitions(ids)
        values: dict[Path, Value] = {
            ("voi", "split"): scores.voi_split,
            ("voi", "merge"): scores.voi_merge,
            ("arand", "error"): scores.arand_error,
            ("arand", "precision"): scores.arand_precision,
            ("arand", "recall"): scores.arand_recall,
        }
        if not self._knows_classes and len(instances) != 1:
            return values
        found_names, found_class = main_partner(self._found_classes)
        for index in instances:
            quality = panoptic_quality(
                ids, true_names[true_class == index], found_names[found_class == index]
            )
            values |= {("panoptic", names[index], k): v for k, v in asdict(quality).items()}
        return values


def _shifted(pairs: Pairs, offset: int) -> Pairs:
    first = np.where(pairs.first > 0, pairs.first + np.uint64(offset), 0).astype(np.uint64)
    return Pairs(first, pairs.second, pairs.count)


def _renamed(pairs: Pairs, names: Array) -> Pairs:
    return united([Pairs(names[pairs.first.astype(np.int64)], pairs.second, pairs.count)])
