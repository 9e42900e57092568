"""Object metrics: comparison of partitions, and panoptic quality."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.quality.segmentation.contingency import Pairs, totals

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PartitionScores:
    """Scores of a partition against the true one; None if undefined.

    Parameters
    ----------
    voi_split, voi_merge : float or None
        Variation of information in bits: entropy of the prediction given the truth (splits), and
        of the truth given the prediction (merges). Meila, J. Multivariate Anal. 98 (2007).
    arand_error, arand_precision, arand_recall : float or None
        Adapted Rand error, 1 minus the F-score over pairs of voxels in the same object, with its
        precision (prediction's pairs) and recall (truth's pairs). As in SNEMI3D and CREMI, each
        voxel predicted as background is an object of its own, so that an empty prediction has no
        pairs, a recall of 0 and an error of 1.
        Arganda-Carreras et al., Front. Neuroanat. 9:142 (2015).
    """

    voi_split: float | None = None
    voi_merge: float | None = None
    arand_error: float | None = None
    arand_precision: float | None = None
    arand_recall: float | None = None


def compare_partitions(pairs: Pairs) -> PartitionScores:
    """Score a predicted partition into objects.

    Parameters
    ----------
    pairs : Pairs
        Pairs of true and predicted ids. Voxels with true id 0 are ignored. Predicted id 0 counts
        as one object in the variation of information, and as one object per voxel in the adapted
        Rand error.

    Returns
    -------
    PartitionScores
        All None if the truth has no object.
    """
    counted = pairs.where(pairs.first > 0)
    if not len(counted):
        return PartitionScores()
    _, true_sizes, true_of = totals(counted.first, counted.count)
    found_names, found_sizes, found_of = totals(counted.second, counted.count)
    total = int(counted.count.sum())
    # Sums are exact before they are rounded, so that the order of the objects does not matter.
    split = -math.fsum(counted.count * np.log2(counted.count / true_sizes[true_of])) / total
    merge = -math.fsum(counted.count * np.log2(counted.count / found_sizes[found_of])) / total
    together = _ordered_pairs(counted.count[counted.second > 0])
    in_true, in_found = _ordered_pairs(true_sizes), _ordered_pairs(found_sizes[found_names > 0])
    score = _ratio(2 * together, in_true + in_found)
    return PartitionScores(
        # Adding 0 turns the -0.0 of a perfect result into 0.
        voi_split=split + 0.0,
        voi_merge=merge + 0.0,
        arand_error=None if score is None else 1.0 - score,
        arand_precision=_ratio(together, in_found),
        arand_recall=_ratio(together, in_true),
    )


def _ordered_pairs(sizes: Array) -> float:
    # In float64, since the square of a large object's size overflows int64.
    values = sizes.astype(np.float64)
    return math.fsum(values * (values - 1))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


@dataclass(frozen=True)
class Panoptic:
    """Counts and qualities of the objects of one class.

    Parameters
    ----------
    tp, fp, fn : int
        Matched objects, predicted objects without a match, true objects without a match.
    rq : float or None
        Recognition quality, the F1 score of the matches; None without objects.
    sq : float or None
        Segmentation quality, mean IoU of the matches; None without matches.
    pq : float or None
        Panoptic quality, their product, 0 without matches; None without objects.
    """

    tp: int
    fp: int
    fn: int
    rq: float | None
    sq: float | None
    pq: float | None


def panoptic_quality(pairs: Pairs, true_ids: Array, found_ids: Array) -> Panoptic:
    """Match the objects of one class and score the matches.

    A predicted and a true object match if their IoU is above 0.5, so that each has at most one
    match. Kirillov et al., Panoptic Segmentation, CVPR 2019.

    Parameters
    ----------
    pairs : Pairs
        Pairs of true and predicted ids at all voxels, including 0 (no object) on both sides.
    true_ids, found_ids : (n,) integer
        Ids of the true and the predicted objects of the class.
    """
    true_names, true_sizes, true_of = totals(pairs.first, pairs.count)
    found_names, found_sizes, found_of = totals(pairs.second, pairs.count)
    union = true_sizes[true_of] + found_sizes[found_of] - pairs.count
    of_class = np.isin(true_names, true_ids)[true_of] & np.isin(found_names, found_ids)[found_of]
    iou = (pairs.count / np.maximum(union, 1))[of_class]
    matched = iou[iou > 0.5]
    tp = len(matched)
    fp, fn = len(found_ids) - tp, len(true_ids) - tp
    weight = tp + fp / 2 + fn / 2
    total = math.fsum(matched)
    return Panoptic(
        tp=tp,
        fp=fp,
        fn=fn,
        rq=tp / weight if weight else None,
        sq=total / tp if tp else None,
        pq=total / weight if weight else None,
    )
