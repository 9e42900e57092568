"""Comparison of a segmentation with its truth, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from parafovea.geometry.grid import Box
from parafovea.postprocess.segmentation.block_components import Block, Surface, unite
from parafovea.quality.metrics import Path, Value
from parafovea.quality.segmentation.contingency import (
    Pairs,
    PairTally,
    count_pairs,
    main_partner,
    united,
)
from parafovea.quality.segmentation.object_scores import compare_partitions, panoptic_quality
from parafovea.quality.segmentation.overlap import confusion_matrix, overlap_metrics
from parafovea.quality.segmentation.true_components import (
    ComponentClasses,
    scan_true_components,
)
from parafovea.quality.truth_on_grid import IGNORED, IGNORED_ID, SampledTruth
from parafovea.storage.blocks import LABEL_SHARD, VOLUME_SHARD
from parafovea.storage.store import Stored

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Truth:
    """True classes, true objects, or both, on the grid of a prediction.

    Without true objects, the connected components of the true classes that have objects are used.

    Parameters
    ----------
    classes, objects : SampledTruth or None
        True classes and true object ids.
    connectivity : {6, 18, 26}
        Neighbours of a voxel within a component.
    """

    classes: SampledTruth | None
    objects: SampledTruth | None
    connectivity: int

    def covers(self, box: Box) -> bool:
        """Return whether somebody may have labelled a voxel of a box."""
        given = self.classes or self.objects
        return given is not None and given.covered.intersection(box).size > 0


@dataclass(frozen=True)
class TruthCounts:
    """Numbers of voxels in one part of a volume, from which the metrics with truth follow.

    Parameters
    ----------
    confusion : (class, class) int64 or None
        See `confusion_matrix`; None without true classes.
    ids : Pairs
        Pairs of true and found objects; without a volume of true objects, these are components of
        the part.
    found_classes : Pairs
        Pairs of found objects and found classes.
    true_classes : Pairs
        Pairs of true objects and true classes, empty without true classes.
    components : Surface or None
        The components, with what unites them with those of other parts; None with a volume of true
        objects, or without true classes.
    """

    confusion: Array | None
    ids: Pairs
    found_classes: Pairs
    true_classes: Pairs
    components: Surface[ComponentClasses] | None


def count_agreement(
    classes: Stored,
    objects: Stored,
    part: Box,
    *,
    truth: Truth,
    names: Sequence[str],
    instances: Sequence[int],
) -> TruthCounts:
    """Compare one part of a segmentation with its truth.

    Memory is bounded by a file of labels, the truth there, and the tables.

    Parameters
    ----------
    classes : Stored
        (z, y, x) class indices.
    objects : Stored
        (z, y, x) object ids.
    part : Box
        The part, of whole files of labels.
    truth : Truth
        On the same grid.
    names : sequence of str
        Class names, the background first.
    instances : sequence of int
        Indices of the classes that have objects.
    """
    tables = _Tables(classes, objects, truth, names)
    block = Block(part, classes.grid.shape, LABEL_SHARD)
    if truth.objects is not None:
        for box in block.tiles:
            tables.add_objects(box, truth.objects)
        return tables.counts()
    if truth.classes is None:
        raise ValueError("there is neither a truth of classes nor one of objects to compare with")
    components, surface = scan_true_components(
        truth.classes.read,
        block,
        instances=instances,
        connectivity=truth.connectivity,
        seen=tables.add_components,
    )
    return tables.counts(components, surface)


def unite_counts(parts: Sequence[TruthCounts]) -> TruthCounts:
    """Return the counts of a volume from those of the parts that fill it.

    Parameters
    ----------
    parts : sequence of TruthCounts
        All made with the same truth.
    """
    components = [part.components for part in parts if part.components is not None]
    ids, true_classes = PairTally(), PairTally()
    found_classes = united([part.found_classes for part in parts])
    confusions = [part.confusion for part in parts if part.confusion is not None]
    confusion = np.sum(confusions, axis=0) if confusions else None
    rows: Sequence[Array | None] = unite(components)[0] if components else [None] * len(parts)
    for part, row in zip(parts, rows, strict=True):
        component = None if row is None else np.concatenate([[0], row + 1]).astype(np.uint64)
        ids.add(_renamed(part.ids, component))
        true_classes.add(_renamed(part.true_classes, component))
    return TruthCounts(confusion, ids.total(), found_classes, true_classes.total(), None)


def agreement_metrics(
    counts: TruthCounts, names: Sequence[str], instances: Sequence[int]
) -> dict[Path, Value]:
    """Return the metrics that need truth.

    Without true classes, true objects belong to the only class with objects; with several such
    classes, the panoptic metrics are omitted.

    Parameters
    ----------
    counts : TruthCounts
        Of the whole volume.
    names : sequence of str
        Class names, the background first.
    instances : sequence of int
        Indices of the classes that have objects.

    Returns
    -------
    dict
        Values by path.
    """
    values: dict[Path, Value] = {}
    if counts.confusion is not None:
        values |= overlap_metrics(counts.confusion, names)
    return values | _object_metrics(counts, names, instances)


def prediction_confusion(prediction: Stored, truth: SampledTruth, classes: int) -> Array:
    """Return the confusion matrix of a prediction's most probable classes, block by block.

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
    for box in prediction.grid.box.tiles(VOLUME_SHARD):
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
    """Tables of label pairs, accumulated over the boxes of a part."""

    def __init__(
        self, classes: Stored, objects: Stored, truth: Truth, names: Sequence[str]
    ) -> None:
        self._classes, self._objects, self._truth = classes, objects, truth
        shape = (len(names), len(names))
        self._confusion = None if truth.classes is None else np.zeros(shape, np.int64)
        self._ids, self._found_classes, self._true_classes = (PairTally() for _ in range(3))

    def add_objects(self, box: Box, objects: SampledTruth) -> None:
        """Add a box of true objects."""
        classes = self._truth.classes
        if self._truth.covers(box):
            self._add(box, None if classes is None else classes.read(box), objects.read(box))

    def add_components(self, box: Box, true_classes: Array, labels: Array, offset: int) -> None:
        """Add a box of true classes, with the labels of their components."""
        if self._truth.covers(box):
            self._add(box, true_classes, labels, offset)

    def _add(self, box: Box, true_classes: Array | None, true_ids: Array, offset: int = 0) -> None:
        found_classes, found_ids = self._classes.read(box), self._objects.read(box)
        known = np.ones(box.shape, bool)
        if true_classes is not None and self._confusion is not None:
            self._confusion += _known_confusion(true_classes, found_classes, len(self._confusion))
            known &= true_classes != IGNORED
            true_classes = np.where(known, true_classes, 0)
        if self._truth.objects is not None:
            known &= true_ids != np.uint64(IGNORED_ID)
        if not known.all():
            # voxels that nobody has labelled count neither way
            found_ids, found_classes, true_ids = (
                each[known] for each in (found_ids, found_classes, true_ids)
            )
            true_classes = None if true_classes is None else true_classes[known]
        self._ids.add(_shifted(count_pairs(true_ids, found_ids), offset))
        self._found_classes.add(count_pairs(found_ids, found_classes))
        if true_classes is not None:
            self._true_classes.add(_shifted(count_pairs(true_ids, true_classes), offset))

    def counts(
        self,
        components: Array | None = None,
        surface: Surface[ComponentClasses] | None = None,
    ) -> TruthCounts:
        """Return the counts of the part, with its components by label if they were found."""
        return TruthCounts(
            self._confusion,
            _renamed(self._ids.total(), components),
            self._found_classes.total(),
            _renamed(self._true_classes.total(), components),
            surface,
        )


def _object_metrics(
    counts: TruthCounts, names: Sequence[str], instances: Sequence[int]
) -> dict[Path, Value]:
    """Return the metrics of objects."""
    has_objects = np.isin(np.arange(len(names)), instances)
    ids, knows_classes = counts.ids, counts.confusion is not None
    true_names, true_class = main_partner(counts.true_classes)
    if knows_classes:
        of_class = has_objects[true_class]
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
    if not knows_classes and len(instances) != 1:
        return values
    found_names, found_class = main_partner(counts.found_classes)
    for index in instances:
        quality = panoptic_quality(
            ids, true_names[true_class == index], found_names[found_class == index]
        )
        values |= {("panoptic", names[index], k): v for k, v in asdict(quality).items()}
    return values


def _shifted(pairs: Pairs, offset: int) -> Pairs:
    first = np.where(pairs.first > 0, pairs.first + np.uint64(offset), 0).astype(np.uint64)
    return Pairs(first, pairs.second, pairs.count)


def _renamed(pairs: Pairs, names: Array | None) -> Pairs:
    if names is None:
        return pairs
    return united([Pairs(names[pairs.first.astype(np.int64)], pairs.second, pairs.count)])
