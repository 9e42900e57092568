"""Panoptic quality: are the right objects found, and how well do they fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.quality.contingency import Pairs, totals

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Panoptic:
    """Counts and qualities of the objects of one class.

    Parameters
    ----------
    tp, fp, fn : int
        Matched objects, predicted objects without a match, true objects without a match.
    rq : float or None
        Recognition quality, the F1 score of the matches; None without any object.
    sq : float or None
        Segmentation quality, mean IoU of the matches; None without a match.
    pq : float or None
        Panoptic quality, their product, 0 without a match; None without any object.
    """

    tp: int
    fp: int
    fn: int
    rq: float | None
    sq: float | None
    pq: float | None


def panoptic_quality(pairs: Pairs, true_ids: Array, found_ids: Array) -> Panoptic:
    """Match the objects of one class and score the matches.

    A predicted and a true object match where their IoU is above 0.5; each has at most one match
    then. Kirillov et al., Panoptic Segmentation, CVPR 2019.

    Parameters
    ----------
    pairs : Pairs
        Of true and predicted ids at all voxels, 0 (no object) included on both sides.
    true_ids, found_ids : (n,) integer
        The true and the predicted objects of the class.
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
