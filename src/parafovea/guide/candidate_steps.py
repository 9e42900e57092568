"""The steps from a heatmap to triaged detections, one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parafovea.errors import CalibrationError
from parafovea.geometry.grid import vector3
from parafovea.guide.arguments import AnyPath, validated
from parafovea.guide.detection_list import DetectionDict, DetectionList, like, number_of, sphere_of
from parafovea.guide.placed_scans import space_of, volume_of
from parafovea.inference.array_inputs import checked_volume
from parafovea.postprocess.detection.calibration import read_calibration
from parafovea.postprocess.detection.candidates import find_candidates
from parafovea.postprocess.detection.detection_files import rounded_length, rounded_score
from parafovea.postprocess.detection.sphere_properties import measure_sphere
from parafovea.postprocess.detection.suppression import suppress_overlaps
from parafovea.preprocess.body import axial_axis
from parafovea.settings.postprocess import NmsSettings, PeakMethod, PeakSettings, TriageSettings
from parafovea.stages.detect_nodules import triage_score


def detect_peaks(
    heatmap: NDArray[Any],
    threshold: float = 0.5,
    min_distance: float = 10.0,
    spacing: Sequence[float] | None = None,
    *,
    method: PeakMethod = "local_maxima",
) -> list[DetectionDict]:
    """Find the candidates in a heatmap: its peaks, each with the region around it.

    Parameters
    ----------
    heatmap : ndarray
        (z, y, x) floating point, 0 to 1.
    threshold : float
        Minimum value of a peak and of its region.
    min_distance : float
        Minimum distance between two peaks, in mm.
    spacing : sequence of float, optional
        Voxel size along z, y, x in mm; may be omitted for a heatmap that knows its place.
    method : str
        "local_maxima" or "nms", see `PeakSettings`.

    Returns
    -------
    list of dict
        By descending confidence, with the keys id, coordinates (x, y, z in mm), coordinates_voxel
        (x, y, z), diameter_mm and confidence.

    Raises
    ------
    GridError
        If the heatmap is no volume, or its spacing is unknown or another one.
    VoxelError
        If a value is not from 0 to 1.
    ConfigError
        If a threshold or distance is invalid.
    """
    values = checked_volume(heatmap, "heatmap")
    space = space_of(heatmap, spacing, "heatmap")
    grid = space.grid.converted("millimeter")
    given = {"threshold": threshold, "min_distance": min_distance, "method": method}
    settings = validated(PeakSettings, given)
    found = []
    for number, each in enumerate(find_candidates(volume_of(values, space).read, grid, settings)):
        place = space.world_of_grid(each.centre, grid)
        found.append(
            {
                "id": number,
                "coordinates": [rounded_length(v) for v in place],
                "coordinates_voxel": [int(v) for v in space.nearest_voxel(place)],
                "diameter_mm": rounded_length(each.diameter(grid)),
                "confidence": rounded_score(min(each.confidence, 1.0)),
            }
        )
    return found


def non_maximum_suppression(
    detections: Sequence[DetectionDict], iou_threshold: float = 0.3
) -> list[DetectionDict]:
    """Remove the detections whose sphere overlaps that of a more confident one.

    Parameters
    ----------
    detections : sequence of dict
        With the keys coordinates, diameter_mm and confidence.
    iou_threshold : float
        Maximum intersection over union of two spheres that are kept.

    Returns
    -------
    list of dict
        By descending confidence, numbered anew.

    Raises
    ------
    TableError
        If a detection lacks a key, or has an invalid value.
    ConfigError
        If the threshold is not from 0 to 1.
    """
    settings = validated(NmsSettings, {"iou_threshold": iou_threshold})
    rows = [sphere_of(each, number) for number, each in enumerate(detections)]
    order = sorted(range(len(rows)), key=lambda row: -rows[row][4])
    table = np.array([rows[row] for row in order]).reshape(-1, 5)
    stays = suppress_overlaps(table[:, :3], table[:, 3], iou_threshold=settings.iou_threshold)
    kept = [detections[row] for row, stay in zip(order, stays, strict=True) if stay]
    return like(detections, [{**each, "id": number} for number, each in enumerate(kept)])


def extract_properties(
    scan: NDArray[Any],
    coordinates: Sequence[float],
    diameter: float,
    spacing: Sequence[float] | None = None,
) -> dict[str, float]:
    """Measure a nodule of which centre and diameter are known.

    Parameters
    ----------
    scan : ndarray
        (z, y, x), HU.
    coordinates : sequence of float
        x, y, z in millimetres, as in the detections of this scan.
    diameter : float
        In millimetres.
    spacing : sequence of float, optional
        Voxel size along z, y, x in mm; may be omitted for a scan that knows its place.

    Returns
    -------
    dict
        volume_mm3, mean_intensity and std_intensity (HU), sphericity, and
        longest_axial_diameter_mm, as in `properties` of a detection; see `measure_sphere`.

    Raises
    ------
    GridError
        If the scan is no volume, its spacing is unknown or another one, or the nodule lies outside
        of it.
    """
    values = checked_volume(scan, "scan")
    space = space_of(scan, spacing, "scan")
    centre = vector3(space.voxel_of_world(vector3(coordinates, "coordinates")).tolist())
    axial = axial_axis(space.affine)
    found = measure_sphere(volume_of(values, space), centre, float(diameter), axial=axial)
    return cast(dict[str, float], found.model_dump(exclude_none=True))


def calibrate_scores(
    detections: Sequence[DetectionDict],
    calibration_file: AnyPath,
    *,
    limits: Mapping[str, float] | None = None,
) -> list[DetectionDict]:
    """Add the triage of a calibration to detections.

    Parameters
    ----------
    detections : sequence of dict
        With the key confidence.
    calibration_file : str or Path
        JSON file of `parafovea calibrate`.
    limits : mapping of str to float, optional
        Minimum scores of the risks low, intermediate and high; 0, 0.3 and 0.7 by default.

    Returns
    -------
    list of dict
        The detections with `triage`: malignancy_score and risk_category.

    Raises
    ------
    CalibrationError
        If the file is no calibration or belongs to another model, or a limit is invalid.
    """
    known = detections if isinstance(detections, DetectionList) else None
    sha256 = None if known is None else known.weights_sha256
    calibration = read_calibration(Path(calibration_file), model_sha256=sha256)
    model = None if known is None else known.facts.get("model")
    if calibration.model is not None and model not in (None, calibration.model.name):
        raise CalibrationError(
            f"{calibration_file} belongs to the model {calibration.model.name!r}, but the "
            f"detections are of {model!r}: fit a calibration to the scores of this model"
        )
    score = triage_score(calibration, TriageSettings().limits if limits is None else limits)
    chances = [number_of(each, "confidence", number) for number, each in enumerate(detections)]
    made = score(pd.DataFrame({"probability": chances}, dtype=float))
    return like(
        detections,
        [
            {
                **each,
                "triage": {
                    "malignancy_score": rounded_score(triage.malignancy_score),
                    "risk_category": triage.risk_category,
                },
            }
            for each, triage in zip(detections, made, strict=True)
        ],
    )
