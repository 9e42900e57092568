"""Selection and description of nodules from a heatmap and its scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from parafovea.errors import GridError
from parafovea.geometry.grid import Grid
from parafovea.geometry.scan_space import ScanSpace
from parafovea.postprocess.detection.calibration import Calibration
from parafovea.postprocess.detection.candidates import Candidate, find_candidates
from parafovea.postprocess.detection.detection_files import (
    Detection,
    Properties,
    Triage,
    rounded_length,
    rounded_score,
)
from parafovea.postprocess.detection.extents import Extent, measure_extents
from parafovea.postprocess.detection.form import measure_form
from parafovea.postprocess.detection.heatmap import Volume
from parafovea.postprocess.detection.suppression import suppress_overlaps
from parafovea.preprocess.body import axial_axis
from parafovea.preprocess.body_masks import BodyMasks
from parafovea.preprocess.coarse_view import CoarseArray
from parafovea.preprocess.lungs import border_distance
from parafovea.settings.postprocess import DetectionSettings

Array = np.ndarray[Any, Any]

#: Triage of a table of candidates with the columns coordX, coordY, coordZ, diameter_mm, probability
#: and those of `Properties`, with NaN for values that are not measurable.
Score = Callable[[pd.DataFrame], Sequence[Triage]]


#: Diameter of a region of the heatmap, as a multiple of the largest of a nodule, up to which it is
#: measured in the scan: larger ones take memory, and are no nodules.
OVERSIZE = 2.0


@dataclass(frozen=True)
class Nodule:
    """A candidate, and what it takes of the scan."""

    candidate: Candidate
    extent: Extent


def find_nodules(
    heatmap: Volume,
    scan: Volume,
    masks: BodyMasks,
    settings: DetectionSettings,
    *,
    confidence: Calibration | None = None,
) -> tuple[list[Nodule], int | None]:
    """Find candidates, measure them in the scan, and filter them by size and by the body.

    Regions of the heatmap over twice the largest diameter are left out unmeasured.

    Parameters
    ----------
    heatmap : Volume
        Values in [0, 1]; its grid is in the world of the scan's grid, in millimetres.
    scan : Volume
        HU; its grid may have any unit of length.
    masks : BodyMasks
        Body and lungs.
    settings : DetectionSettings
        Settings of peaks and filters.
    confidence : Calibration, optional
        As for `select_candidates`.

    Returns
    -------
    nodules : list of Nodule
        By descending confidence; ties in z, y, x order.
    outside : int or None
        Number of those outside of the body, which are left out; None if that filter is off.
    """
    size, own = settings.size_filter, scan.grid.converted("millimeter")
    candidates = [
        each
        for each in select_candidates(heatmap, settings, confidence=confidence)
        if each.diameter(heatmap.grid) <= OVERSIZE * size.max_diameter
    ]
    extents = measure_extents(candidates, heatmap.grid, scan.read, scan.grid)
    found = [
        Nodule(candidate, extent)
        for candidate, extent in zip(candidates, extents, strict=True)
        if size.min_diameter <= extent.diameter(own) <= size.max_diameter
    ]
    if not settings.body_filter.enabled:
        return found, None
    inside = _within_body([each.candidate for each in found], heatmap.grid, masks.body)
    stay = [each for each, keep in zip(found, inside, strict=True) if keep]
    return stay, len(found) - len(stay)


def select_candidates(
    heatmap: Volume, settings: DetectionSettings, *, confidence: Calibration | None = None
) -> list[Candidate]:
    """Find candidates and filter them by non-maximum suppression and by confidence, in order.

    Parameters
    ----------
    heatmap : Volume
        Values in [0, 1]; its grid is in millimetres.
    settings : DetectionSettings
        Settings of peaks and filters.
    confidence : Calibration, optional
        Map from the heights of peaks to confidences. By default, the height is the confidence.

    Returns
    -------
    list of Candidate
        By descending confidence; ties in z, y, x order.
    """
    grid = heatmap.grid
    found = find_candidates(heatmap.read, grid, settings.peak_detection)
    if settings.nms.enabled:
        centres = np.array([grid.world(c.centre) for c in found]).reshape(-1, 3)
        widths = np.array([c.diameter(grid) for c in found])
        stays = suppress_overlaps(centres, widths, iou_threshold=settings.nms.iou_threshold)
        found = [c for c, stay in zip(found, stays, strict=True) if stay]
    if confidence is not None:
        # the height of a peak may exceed 1 by rounding
        sure = confidence.apply(np.array([min(c.confidence, 1.0) for c in found]))
        found = [replace(c, confidence=float(s)) for c, s in zip(found, sure, strict=True)]
    least = settings.confidence_filter.min_confidence
    return [c for c in found if c.confidence >= least]


def _within_body(candidates: Sequence[Candidate], grid: Grid, body: CoarseArray) -> Array:
    """Return which centres lie in the body.

    The mask extends one voxel of about 4 mm beyond the skin, so that no candidate there is lost.
    """
    centres = np.array([grid.world(c.centre) for c in candidates]).reshape(-1, 3)
    return np.asarray(body.nearest(centres))


def describe_nodules(
    nodules: Sequence[Nodule],
    heatmap: Grid,
    scan: Grid,
    lungs: CoarseArray | None,
    *,
    affine: Array | None,
    score: Score | None = None,
) -> tuple[Detection, ...]:
    """Describe nodules in patient coordinates.

    Parameters
    ----------
    nodules : sequence of Nodule
        Nodules in the heatmap and the scan.
    heatmap : Grid
        Grid of the heatmap, in the world of the scan's, in millimetres.
    scan : Grid
        Grid of the scan, in any unit of length.
    lungs : CoarseArray or None
        bool, from `lung_mask`; None where the scan shows none.
    affine : (4, 4) float64 or None
        Affine from the scan's voxels (x, y, z) to RAS millimetres; with None, its grid is LPS.
    score : callable, optional
        Returns a triage for each row of the nodules' table; with None there is no triage.

    Returns
    -------
    tuple of Detection
        In the order of the nodules.

    Raises
    ------
    GridError
        If `score` does not return one triage for each nodule.
    """
    if not nodules:
        return ()
    own = scan.converted("millimeter")
    axial = axial_axis(affine)
    centres = [each.candidate.centre for each in nodules]
    space = ScanSpace(own, affine)
    positions = space.world_of_grid(centres, heatmap)
    voxels = space.nearest_voxel(positions)
    world = np.array([heatmap.world(centre) for centre in centres])
    depths = np.full(len(world), np.nan) if lungs is None else border_distance(lungs, world)
    found = []
    for row, nodule in enumerate(nodules):
        extent = nodule.extent
        form = measure_form(extent.share, own.spacing, axial=axial)
        properties = Properties(
            volume_mm3=rounded_length(extent.volume(own)),
            mean_intensity=rounded_length(extent.mean),
            std_intensity=rounded_length(extent.deviation),
            sphericity=rounded_length(form.sphericity),
            longest_axial_diameter_mm=rounded_length(form.axial_diameter) or None,
            lung_border_distance_mm=None if np.isnan(depths[row]) else rounded_length(depths[row]),
        )
        x, y, z = (rounded_length(v) for v in positions[row])
        i, j, k = (int(v) for v in voxels[row])
        found.append(
            Detection(
                id=row,
                coordinates=(x, y, z),
                coordinates_voxel=(i, j, k),
                diameter_mm=rounded_length(extent.diameter(own)),
                confidence=rounded_score(min(nodule.candidate.confidence, 1.0)),
                properties=properties,
            )
        )
    return tuple(found) if score is None else _triaged(found, score)


def _triaged(detections: Sequence[Detection], score: Score) -> tuple[Detection, ...]:
    triages = list(score(score_table(detections)))
    if len(triages) != len(detections):
        raise GridError(
            f"the calibration returned {len(triages)} scores for {len(detections)} candidates: it "
            "must return one for each"
        )
    return tuple(
        d.model_copy(
            update={
                "triage": Triage(
                    malignancy_score=rounded_score(t.malignancy_score),
                    risk_category=t.risk_category,
                )
            }
        )
        for d, t in zip(detections, triages, strict=True)
    )


def score_table(detections: Sequence[Detection]) -> pd.DataFrame:
    """Return the input table of a calibration, one row per detection; see `Score`."""
    rows = [
        {
            **dict(zip(("coordX", "coordY", "coordZ"), d.coordinates, strict=True)),
            "diameter_mm": d.diameter_mm,
            "probability": d.confidence,
            **d.properties.model_dump(),
        }
        for d in detections
    ]
    return pd.DataFrame(rows).astype(float)
