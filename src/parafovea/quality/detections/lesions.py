"""Matching of candidates to lesions by mask overlap, following the PI-CAI rules.

The rules are those of the challenge's package picai_eval 1.4 (Bosma et al.,
https://github.com/DIAGNijmegen/picai_eval; Saha et al., Lancet Oncology 25, 2024). They compare
masks, whereas those of LUNA16 (`parafovea.quality.detections.matching`) compare centres and radii.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import label, maximum
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from parafovea.errors import VoxelError

Array = np.ndarray[Any, Any]

#: Minimum overlap at which a candidate can match a lesion.
LEAST_OVERLAP = 0.1

#: Components are connected across faces, edges and corners.
_NEIGHBOURS = np.ones((3, 3, 3))


@dataclass(frozen=True, slots=True)
class LesionResult:
    """A lesion, found or missed, or a false positive.

    Parameters
    ----------
    is_lesion : bool
        False for a false positive.
    confidence : float
        Confidence of the candidate; 0 for a missed lesion.
    overlap : float
        Intersection over union of the candidate and its lesion; 0 without one.
    lesion, candidate : int, optional
        Numbers of their components, from 1, as `components` counts them.
    """

    is_lesion: bool
    confidence: float
    overlap: float
    lesion: int | None = None
    candidate: int | None = None


@dataclass(frozen=True)
class CaseResult:
    """Outcome of the lesions and candidates of a scan.

    Parameters
    ----------
    lesions : tuple of LesionResult
        Found lesions, then missed ones, then false positives.
    confidence : float
        Confidence of the scan: its highest value.
    """

    lesions: tuple[LesionResult, ...]
    confidence: float

    @property
    def has_lesion(self) -> bool:
        """Whether the truth has a lesion."""
        return any(each.is_lesion for each in self.lesions)


def components(values: Array) -> tuple[Array, int]:
    """Return the numbers of the connected components of nonzero voxels, and how many there are.

    Parameters
    ----------
    values : (z, y, x)
        Any numbers.

    Returns
    -------
    numbers : (z, y, x) int32
        0 where `values` are 0, components from 1 on, connected by faces, edges and corners.
    count : int
        Number of components.
    """
    numbers, count = label(np.asarray(values) != 0, structure=_NEIGHBOURS)
    return numbers, int(count)


def detection_map(heatmap: Array, threshold: float) -> Array:
    """Return the candidates of a heatmap, each with one confidence.

    Parameters
    ----------
    heatmap : (z, y, x)
        Values in [0, 1].
    threshold : float
        Candidates are connected components (faces, edges and corners) of voxels at or above it.

    Returns
    -------
    ndarray
        (z, y, x) float32: the maximum of the voxel's component, 0 elsewhere.
    """
    numbers, count = components(np.asarray(heatmap) >= threshold)
    heights = np.zeros(count + 1, np.float32)
    if count:
        heights[1:] = maximum(heatmap, numbers, np.arange(1, count + 1))
    return heights[numbers]


def score_case(
    candidates: Array, truth: Array, *, least_overlap: float = LEAST_OVERLAP
) -> CaseResult:
    """Match the candidates of a scan to its lesions.

    The matching is one to one with an overlap of at least `least_overlap`. It maximizes the number
    of matched candidates, then the sum of overlaps. A candidate that overlaps a lesion enough but
    is not matched, since another one is, counts neither way; all other unmatched candidates are
    false positives.

    Parameters
    ----------
    candidates : (z, y, x)
        A detection map, in which each component (faces, edges and corners) has one confidence above
        0; see `detection_map`.
    truth : (z, y, x)
        Nonzero in lesions; each component is one lesion.
    least_overlap : float
        Minimum intersection over union.

    Returns
    -------
    CaseResult
        Outcome of each lesion and candidate.

    Raises
    ------
    VoxelError
        If shapes differ, values are negative or not finite, or `candidates` is a heatmap.
    """
    found = np.asarray(candidates, np.float32)
    if found.shape != np.shape(truth):
        raise VoxelError(
            f"the detection map has the shape {found.shape}, but the lesions {np.shape(truth)}: "
            "resample one of them to the other"
        )
    if not np.isfinite(found).all() or found.min(initial=0) < 0:
        raise VoxelError("the detection map has values that are negative or not finite")
    marks, count = components(found)
    if count < len(np.unique(found[found > 0])):
        raise VoxelError(
            "the detection map has several values in one component, as in a heatmap: give each "
            "candidate one confidence, or a threshold that makes candidates of the heatmap"
        )
    lesions, total = components(truth)
    confidence = np.zeros(count)
    if count:
        confidence = np.asarray(maximum(found, marks, np.arange(1, count + 1)), float)
    overlap = _overlaps(lesions, marks, total, count)
    overlap[overlap < least_overlap] = 0
    # one more match outweighs any overlap
    rows, columns = linear_sum_assignment(overlap + (overlap > 0), maximize=True)
    matched = overlap[rows, columns] > 0
    rows, columns = rows[matched], columns[matched]
    results = [
        LesionResult(
            True,
            float(confidence[column]),
            float(overlap[row, column]),
            int(row) + 1,
            int(column) + 1,
        )
        for row, column in zip(rows, columns, strict=True)
    ]
    missed = sorted({*range(total)} - {*rows.tolist()})
    results += [LesionResult(True, 0.0, 0.0, lesion=row + 1) for row in missed]
    false = np.flatnonzero(~(overlap > 0).any(axis=0))
    results += [
        LesionResult(False, float(confidence[column]), 0.0, candidate=int(column) + 1)
        for column in false
    ]
    return CaseResult(tuple(results), float(found.max(initial=0)))


def _overlaps(lesions: Array, marks: Array, total: int, count: int) -> Array:
    """Return (lesion, candidate) intersection over union."""
    joint = np.bincount(
        (lesions.astype(np.int64) * (count + 1) + marks).ravel(),
        minlength=(total + 1) * (count + 1),
    ).reshape(total + 1, count + 1)
    common = joint[1:, 1:].astype(float)
    union = joint.sum(axis=1)[1:, None] + joint.sum(axis=0)[None, 1:] - common
    return np.asarray(common / union)


@dataclass(frozen=True)
class LesionScore:
    """Average precision of lesions and separation of scans.

    Parameters
    ----------
    cases : mapping of str to CaseResult
        Results by scan name.
    """

    cases: Mapping[str, CaseResult]

    @property
    def lesions(self) -> tuple[LesionResult, ...]:
        """All lesions and false positives, in scan order."""
        return tuple(each for case in self.cases.values() for each in case.lesions)

    @property
    def counts(self) -> dict[str, int]:
        """Counts of scans, lesions and outcomes, for a table."""
        true = [each for each in self.lesions if each.is_lesion]
        hit = sum(each.confidence > 0 for each in true)
        return {
            "scans": len(self.cases),
            "scans_with_lesions": sum(case.has_lesion for case in self.cases.values()),
            "lesions": len(true),
            "found": hit,
            "missed": len(true) - hit,
            "false_positives": len(self.lesions) - len(true),
        }

    @property
    def average_precision(self) -> float | None:
        """Step-wise area under precision over recall; None without lesions.

        Missed lesions add recall at precision 0.
        """
        true = np.array([each.is_lesion for each in self.lesions], bool)
        if not true.any():
            return None
        height = np.array([each.confidence for each in self.lesions])
        found, before = 0.0, 0
        for threshold in np.unique(height[height > 0])[::-1]:
            kept = height >= threshold
            hits = int((kept & true).sum())
            found += (hits - before) / true.sum() * hits / kept.sum()
            before = hits
        return float(found)

    @property
    def auroc(self) -> float | None:
        """Area under the ROC curve of the scans; None unless both kinds of scans occur.

        The probability that a scan with lesions has a higher confidence than one without; ties
        count half.
        """
        ill = np.array([case.has_lesion for case in self.cases.values()], bool)
        if not ill.any() or ill.all():
            return None
        ranks = rankdata([case.confidence for case in self.cases.values()])
        pairs = ill.sum() * (~ill).sum()
        return float((ranks[ill].sum() - ill.sum() * (ill.sum() + 1) / 2) / pairs)

    @property
    def score(self) -> float | None:
        """Mean of average precision and AUROC, the PI-CAI ranking score; None if either is None."""
        parts = (self.average_precision, self.auroc)
        known = [part for part in parts if part is not None]
        return sum(known) / 2 if len(known) == 2 else None

    def sensitivity_at(self, false_positives: float) -> float | None:
        """Return the maximum sensitivity at up to a number of false positives per scan.

        Parameters
        ----------
        false_positives : float
            False positives per scan.

        Returns
        -------
        float or None
            Share of lesions found; None without lesions.
        """
        true = np.array([each.is_lesion for each in self.lesions], bool)
        if not true.any():
            return None
        height = np.array([each.confidence for each in self.lesions])
        best = 0.0
        for threshold in np.unique(height[height > 0]):
            kept = height >= threshold
            if (kept & ~true).sum() <= false_positives * len(self.cases):
                best = max(best, float((kept & true).sum() / true.sum()))
        return best

    def summary(self) -> dict[str, Any]:
        """Return the numbers for JSON; None if undefined."""
        return {
            "score": self.score,
            "AP": self.average_precision,
            "auroc": self.auroc,
            "sensitivity_at": {f"{rate:g}": self.sensitivity_at(rate) for rate in RATES},
            "counts": self.counts,
        }


#: False positives per scan at which sensitivity is reported.
RATES = (0.1, 0.5, 1.0, 2.0)
