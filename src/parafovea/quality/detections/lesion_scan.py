"""Score of the detections of one scan against a mask of its lesions, by the rules of PI-CAI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from parafovea.quality import metrics
from parafovea.quality.detections.lesions import (
    CaseResult,
    LesionScore,
    components,
    score_case,
)
from parafovea.quality.detections.mask_findings import mask_findings
from parafovea.quality.detections.scan_score import ScanScore
from parafovea.quality.detections.tables import COORDINATES
from parafovea.quality.metrics import Value

Array = np.ndarray[Any, Any]

#: Decimals of millimetres and of overlaps in the files.
_DIGITS = 4


@dataclass(frozen=True)
class LesionScan:
    """Outcome of the detections of a scan by the rules of PI-CAI.

    Parameters
    ----------
    score : ScanScore
        Metrics, lesions, hits and false positives, as by the rules of LUNA16; each lesion and hit
        also has its overlap.
    case : CaseResult
        Outcome of each lesion and candidate, to be scored together with those of other scans.
    """

    score: ScanScore
    case: CaseResult


def candidate_map(
    above: Array, places: Array, confidences: Array, reach: Array
) -> tuple[Array, Array]:
    """Return the regions of detections, each with one confidence.

    Parameters
    ----------
    above : (z, y, x) bool
        Where the heatmap reaches its threshold. Regions are the connected components (faces, edges
        and corners); those without a detection, such as outside of the body, are left out.
    places : (n, 3) float
        Centre of each detection along z, y, x, in these voxels.
    confidences : (n,) float
        Confidence of each detection. A region with several has the highest.
    reach : (n, 3) float
        Radius of each detection along z, y, x, in voxels. The region of a detection is the nearest
        one within it, or else the one voxel at its centre.

    Returns
    -------
    map : (z, y, x) float32
        Confidence of the voxel's region, 0 elsewhere.
    regions : (n,) int
        Number of each detection's region, as `components` counts those of the map; 0 for a
        detection outside of these voxels.
    """
    shape = np.array(above.shape)
    inside = ((places >= -0.5) & (places <= shape - 0.5)).all(axis=1)
    above = above.copy()
    nearest = np.array(
        [_nearest_above(above, *each) for each in zip(places, reach, strict=True)], int
    ).reshape(-1, 3)
    # a peak between voxels may be lower at each of them
    above[tuple(nearest[inside].T)] = True
    numbers, count = components(above)
    own = np.where(inside, numbers[tuple(nearest.T)], 0)
    heights = np.zeros(count + 1, np.float32)
    np.maximum.at(heights, own[inside], confidences[inside].astype(np.float32))
    heights[0] = 0
    found = heights[numbers]
    kept, _ = components(found)
    return found, np.where(inside, kept[tuple(nearest.T)], 0)


def _nearest_above(above: Array, place: Array, reach: Array) -> Array:
    """Return the nearest of the voxels above the threshold within reach, or the nearest voxel."""
    last = np.array(above.shape) - 1
    nearest: Array = np.clip(np.rint(place).astype(int), 0, last)
    if above[tuple(nearest)]:
        return nearest
    low = np.clip(np.floor(place - reach).astype(int), 0, last)
    high = np.clip(np.ceil(place + reach).astype(int), 0, last) + 1
    there = np.argwhere(above[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]) + low
    if not len(there):
        return nearest
    # in radii, since voxels may be longer along one axis
    apart = np.linalg.norm((there - place) / np.maximum(reach, 1e-6), axis=1)
    return np.asarray(there[apart.argmin()])


def score_lesions(
    above: Array,
    mask: Array,
    candidates: pd.DataFrame,
    places: Array,
    *,
    affine: Array,
    min_overlap: float,
    unlabelled: Array | None = None,
) -> LesionScan:
    """Match the regions of a scan's detections to its lesions.

    Parameters
    ----------
    above : (z, y, x) bool
        Where the heatmap reaches its threshold, on the voxels of the mask.
    mask : (z, y, x) integer
        Nonzero in lesions; each component is one lesion.
    candidates : DataFrame
        coordX, coordY, coordZ, diameter_mm and probability, in the order of the detection ids.
    places : (n, 3) float
        Their centres along z, y, x, in voxels of the mask.
    affine : (4, 4) float
        From voxel (x, y, z) of the mask to RAS millimetres.
    min_overlap : float
        Minimum intersection over union of a region and its lesion.
    unlabelled : (z, y, x) bool, optional
        Voxels that nobody has labelled; regions that mostly lie there count neither way.

    Returns
    -------
    LesionScan
        Of several detections in one region, the most confident one stands for it.
    """
    confidences = candidates["probability"].to_numpy(float)
    spacing = np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)[::-1]
    reach = candidates["diameter_mm"].to_numpy(float)[:, None] / 2 / spacing
    box, start = _occupied(above | (mask != 0), places)
    above, mask, places = above[box], mask[box], places - start
    unlabelled = None if unlabelled is None else unlabelled[box]
    affine = np.array(affine, float)
    affine[:3, 3] += affine[:3, :3] @ start[::-1]
    found, regions = candidate_map(above, places, confidences, reach)
    if unlabelled is not None:
        numbers, count = components(found)
        sizes, unknown = (
            np.bincount(numbers[part].ravel(), minlength=count + 1)
            for part in (slice(None), unlabelled)
        )
        gone = unknown * 2 > sizes
        gone[0] = False
        found[gone[numbers]] = 0
        kept = np.concatenate([[0], np.cumsum(~gone[1:])])
        regions = np.where(gone[regions], 0, kept[regions])
    case = score_case(found, mask, least_overlap=min_overlap)
    chosen = _most_confident(regions, confidences)
    numbers, _ = components(mask)
    table = mask_findings(numbers, affine)
    results = {each.lesion: each for each in case.lesions if each.lesion is not None}
    nodules, hits = [], []
    for number, row in enumerate(table.to_dict("records")):
        result = results[int(row["label"])]
        centre = [float(row[name]) for name in COORDINATES]
        nodules.append(
            {
                "id": number,
                "label": int(row["label"]),
                "coordinates": [round(value, _DIGITS) for value in centre],
                "diameter_mm": round(float(row["diameter_mm"]), _DIGITS),
                "found": result.candidate is not None,
                "overlap": round(result.overlap, _DIGITS),
            }
        )
        if result.candidate is not None:
            detection = chosen[result.candidate]
            there = candidates.iloc[detection][list(COORDINATES)].to_numpy(float)
            hits.append(
                {
                    "detection": detection,
                    "nodule": number,
                    "distance_mm": round(float(np.linalg.norm(there - centre)), _DIGITS),
                    "overlap": round(result.overlap, _DIGITS),
                }
            )
    false = [each.candidate for each in case.lesions if not each.is_lesion]
    wrong = tuple(sorted(chosen[each] for each in false if each is not None))
    return LesionScan(
        ScanScore(_values(case), tuple(nodules), tuple(hits), wrong),
        case,
    )


def _occupied(occupied: Array, places: Array) -> tuple[tuple[slice, ...], Array]:
    """Return the box of occupied voxels and of places, to save memory, and its first voxel."""
    last = np.array(occupied.shape) - 1
    nearest = np.clip(np.rint(places).astype(int), 0, last)
    start, stop = np.zeros(3, int), np.ones(3, int)
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = [*np.flatnonzero(occupied.any(axis=others)), *nearest[:, axis]]
        if used:
            start[axis], stop[axis] = min(used), max(used) + 1
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True)), start


def _most_confident(regions: Array, confidences: Array) -> dict[int, int]:
    """Return the detection that stands for each region."""
    order = np.argsort(-confidences, kind="stable")
    chosen: dict[int, int] = {}
    for detection in order:
        chosen.setdefault(int(regions[detection]), int(detection))
    return chosen


def _values(case: CaseResult) -> dict[metrics.Path, Value]:
    score = LesionScore({"scan": case})
    counts = score.counts
    lesions, found = counts["lesions"], counts["found"]
    judged = found + counts["false_positives"]
    overlaps = [each.overlap for each in case.lesions if each.candidate and each.is_lesion]
    return {
        ("lesions",): lesions,
        ("found",): found,
        ("missed",): counts["missed"],
        ("false_positives",): counts["false_positives"],
        ("sensitivity", metrics.OVERALL): found / lesions if lesions else None,
        ("precision",): found / judged if judged else None,
        ("overlap",): float(np.mean(overlaps)) if overlaps else None,
        ("AP",): score.average_precision,
        ("auroc",): score.auroc,
        ("score",): score.score,
    }
