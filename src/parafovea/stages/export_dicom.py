"""Stage export_dicom: writes results as DICOM objects in the study of their source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from parafovea.errors import StoreError
from parafovea.formats.channels import open_input
from parafovea.formats.dicom.derived_object import Algorithm, Segment, concept, write_objects
from parafovea.formats.dicom.measurement_report import (
    Measured,
    MeasuredSegment,
    measurement_report,
)
from parafovea.formats.dicom.segmentation_object import segmentation_object
from parafovea.formats.dicom.source_series import source_series
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.source import Source
from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.scan_space import ScanSpace
from parafovea.postprocess.detection.calibration import Calibration, read_calibration
from parafovea.postprocess.detection.detection_files import Detection, load_detections
from parafovea.postprocess.detection.extents import region_planes
from parafovea.postprocess.detection.heatmap import Volume, open_heatmap
from parafovea.postprocess.detection.nodules import find_nodules
from parafovea.postprocess.segmentation.label_images import class_names
from parafovea.preprocess.body_masks import stored_masks
from parafovea.settings.postprocess import DetectionSettings
from parafovea.storage.store import Stored, open_stored

Planes = dict[int, NDArray[np.uint16]]

#: What a detection is.
NODULE = Segment(
    "nodule",
    codes.SCT.MorphologicallyAbnormalStructure,
    codes.SCT.Nodule,
    codes.SCT.Lung,
)

#: Most segments of an object.
MOST_SEGMENTS = 2**16 - 1


def export_dicom(
    prediction: Path,
    segmentation: Path,
    measurements: Path,
    detections: Path | None = None,
    volume: Path | None = None,
    classes: Path | None = None,
    *,
    source: str,
    metadata: str = "",
    channels: Sequence[str] = (),
    settings: DetectionSettings | Mapping[str, Any] | None = None,
    confidence: str | Path | None = None,
) -> None:
    """Write a DICOM segmentation and a report of measurements that refers to its segments.

    Of detections, each is a segment: the voxels of which half or more are nodule. Of classes, each
    but the background is one.

    Parameters
    ----------
    prediction : Path
        Store of the probabilities, for the model that made them and the regions of detections.
    segmentation, measurements : Path
        DICOM files to write: Segmentation and Comprehensive 3D SR (TID 1500), in the study and the
        frame of reference of the source. They state the patient, as the source does.
    detections, volume : Path, optional
        The detections, and the store of the scan's normalized volume with body and lung masks.
    classes : Path, optional
        Store of (z, y, x) class indices.
    source : str
        The DICOM series, as in the sample sheet.
    metadata : str
        The sheet's `metadata` of the sample.
    channels : sequence of str
        Names of the scan's channels, of which the first one's slices are segmented.
    settings : mapping, optional
        Fields of `DetectionSettings`, by which the detections were found.
    confidence : str or None
        File of `parafovea calibrate` by which their confidences were calibrated.

    Raises
    ------
    SourceError
        If the source cannot be read, is no DICOM series, or lacks what its results repeat.
    StoreError
        If a result is missing or damaged, or the detections were not made from the prediction.
    """
    stated = open_stored(prediction).attributes.get("model")
    made: Mapping[str, object] = stated if isinstance(stated, Mapping) else {}
    with unchanged(source) as check:
        grid = open_stored(prediction).grid
        told = parse_metadata(metadata, folder=Path())
        scan = open_input(
            source,
            channels=channels,
            metadata=told,
            finer_than=grid.spacing,
            unit=grid.unit,
        )[0].source
        series = source_series(scan, told)
        found: _Found
        if detections is not None and volume is not None:
            owner = str(made["sha256"]) if "sha256" in made else None
            sure = (
                None
                if confidence is None
                else read_calibration(Path(confidence), model_sha256=owner)
            )
            found = _Detected(detections, prediction, volume, settings or {}, sure, scan)
        elif classes is not None:
            found = _Classified(classes, scan)
        else:
            raise StoreError("there are neither detections nor classes to write as DICOM objects")
        algorithm = Algorithm(
            found.task, str(made.get("name") or ""), str(made.get("sha256") or "")
        )
        top, left = series.start[1:]
        planes = {
            k + series.start[0]: _placed(plane, series.stack.slices[0].shape, top, left)
            for k, plane in found.planes.items()
        }
        segments = found.segments or [found.sought]
        regions = segmentation_object(series, planes, segments, algorithm=algorithm)
        report = measurement_report(
            series, regions, found.groups, algorithm=algorithm, sought=found.sought
        )
        check()
    write_objects([(segmentation, regions), (measurements, report)])


def _placed(
    plane: NDArray[np.uint16], shape: tuple[int, int], top: int, left: int
) -> NDArray[np.uint16]:
    """Return a plane of a scan within its slice, of which it may be a region."""
    whole = np.zeros(shape, np.uint16)
    whole[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return whole


class _Found:
    """Regions of a scan with their measurements.

    Attributes
    ----------
    planes : dict of int to ndarray
        (y, x) uint16 numbers of segments by plane of the scan.
    segments : list of Segment
        Segments in the order of their numbers.
    groups : list of MeasuredSegment
        Their measurements.
    sought : Segment
        What the report names if nothing was found.
    task : str
        Name of the task in the objects.
    """

    planes: Planes
    segments: list[Segment]
    groups: list[MeasuredSegment]
    sought: Segment
    task: str


class _Detected(_Found):
    """The detections of a heatmap."""

    sought = NODULE
    task = "detection"

    def __init__(
        self,
        detections: Path,
        prediction: Path,
        volume: Path,
        settings: DetectionSettings | Mapping[str, Any],
        confidence: Calibration | None,
        scan: Source,
    ) -> None:
        document, heat = load_detections(detections), open_heatmap(prediction)
        chosen = DetectionSettings.model_validate(settings)
        whole = Volume(scan.read, scan.grid)
        nodules, _ = find_nodules(heat, whole, stored_masks(volume), chosen, confidence=confidence)
        found = document.detections
        space = ScanSpace(scan.grid, scan.affine)
        places = [space.world_of_grid(n.candidate.centre, heat.grid) for n in nodules]
        if len(places) != len(found) or not all(
            np.allclose(place, each.coordinates, atol=0.01)
            for place, each in zip(places, found, strict=True)
        ):
            raise StoreError(
                f"{detections} has other detections than {prediction}: run detect_nodules again"
            )
        if len(found) > MOST_SEGMENTS:
            raise StoreError(
                f"{detections} has {len(found)} detections, and a DICOM segmentation has at most "
                f"{MOST_SEGMENTS} segments: raise detection.confidence_filter.min_confidence"
            )
        self.planes = region_planes([nodule.extent for nodule in nodules], scan.grid.shape)
        self.segments = [
            Segment(f"Nodule {each.id + 1}", NODULE.category, NODULE.property_type, NODULE.site)
            for each in found
        ]
        self.groups = [
            MeasuredSegment(each.id + 1, segment, _measured(each), each.coordinates)
            for each, segment in zip(found, self.segments, strict=True)
        ]


def _measured(detection: Detection) -> list[Measured]:
    """Return the measurements of a detection; the position belongs to the diameter."""
    properties, triage = detection.properties, detection.triage
    found = [
        Measured(codes.SCT.Diameter, codes.UCUM.Millimeter, detection.diameter_mm),
        Measured(codes.SCT.Volume, codes.UCUM.CubicMillimeter, properties.volume_mm3),
        Measured(codes.DCM.CertaintyOfFinding, codes.UCUM.Percent, _percent(detection.confidence)),
    ]
    if properties.longest_axial_diameter_mm is not None:
        longest = properties.longest_axial_diameter_mm
        found.append(Measured(codes.SCT.LongAxis, codes.UCUM.Millimeter, longest))
    if properties.sphericity is not None:
        found.append(Measured(codes.IBSI.Sphericity, codes.UCUM.NoUnits, properties.sphericity))
    hounsfield: tuple[Code, Code] = (codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit)
    found += [
        Measured(*hounsfield, properties.mean_intensity, codes.SCT.Mean),
        Measured(*hounsfield, properties.std_intensity, codes.SCT.StandardDeviation),
    ]
    if triage is not None:
        chance = _percent(triage.malignancy_score)
        found.append(Measured(codes.DCM.ProbabilityOfCancer, codes.UCUM.Percent, chance))
    return found


def _percent(share: float) -> float:
    return round(100 * share, 4)


class _Classified(_Found):
    """The classes of a segmentation."""

    task = "segmentation"

    def __init__(self, classes: Path, scan: Source) -> None:
        stored = open_stored(classes)
        _, *names = class_names(stored)
        self.sought = Segment("segmented", *concept(names[0]))
        self.planes, self.segments, self.groups = {}, [], []
        own = scan.grid.converted("millimeter")
        counts = np.zeros(len(names) + 1, np.int64)
        sums = np.zeros((len(names) + 1, 3))
        for k, plane in _planes_on(stored, scan.grid):
            self.planes[k] = plane
            for number in np.unique(plane).tolist():
                rows, columns = np.nonzero(plane == number)
                counts[number] += len(rows)
                sums[number] += (k * len(rows), rows.sum(), columns.sum())
        space = ScanSpace(own, scan.affine)
        for number, name in enumerate(names, start=1):
            segment = Segment(name, *concept(name))
            self.segments.append(segment)
            if counts[number]:
                centre = space.world_of_voxel(sums[number] / counts[number])
                x, y, z = (round(float(v), 3) for v in centre)
                size = Measured(
                    codes.SCT.Volume,
                    codes.UCUM.CubicMillimeter,
                    round(float(counts[number] * own.voxel_volume), 3),
                )
                self.groups.append(MeasuredSegment(number, segment, [size], (x, y, z)))


def _planes_on(stored: Stored, scan: Grid) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Yield the planes of a scan that have a class, each voxel that of the nearest one stored."""
    target = scan.converted(stored.grid.unit)
    indices = [
        np.rint((np.arange(n) * step + start - other) / size).astype(np.int64)
        for n, step, start, other, size in zip(
            target.shape,
            target.spacing,
            target.origin,
            stored.grid.origin,
            stored.grid.spacing,
            strict=True,
        )
    ]
    z, y, x = (np.clip(i, 0, n - 1) for i, n in zip(indices, stored.grid.shape, strict=True))
    inside = [(i >= 0) & (i < n) for i, n in zip(indices, stored.grid.shape, strict=True)]
    for k in np.flatnonzero(inside[0]).tolist():
        plane = stored.read(Box.sized((z[k], 0, 0), (1, *stored.grid.shape[1:])))[0]
        found = np.where(np.outer(inside[1], inside[2]), plane[np.ix_(y, x)], 0)
        if found.any():
            yield k, found.astype(np.uint16)
