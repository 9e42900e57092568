"""A small scan with two nodules, its heatmap and its detections, as pictures need them."""

from __future__ import annotations

import numpy as np
from chest_scan import Nodule, chest, heat

from parafovea.geometry.grid import Grid
from parafovea.postprocess.detection.detection_files import Detections, ScanMetadata, summarize
from parafovea.postprocess.detection.heatmap import Volume
from parafovea.postprocess.detection.nodules import describe_nodules, find_nodules
from parafovea.preprocess.body_masks import BodyMasks
from parafovea.preprocess.coarse_view import coarse_view
from parafovea.report.detections.slices import DetectedScan
from parafovea.settings.postprocess import DetectionSettings

SCAN = Grid((30, 52, 75), (4.0, 4.0, 4.0), (-58.0, -102.0, -148.0), "millimeter")

NODULES = (
    Nodule((10, 5, 60), 9.0, hu=-50, heat=0.97),
    Nodule((-20, 20, -50), 8.0, hu=-300, heat=0.9),
)

#: From voxel (x, y, z) to RAS millimetres, the first voxel at the chest's corner.
AFFINE = np.diag([-4.0, -4.0, 4.0, 1.0])


def body_masks(
    nodules: tuple[Nodule, ...] = NODULES, *, affine: np.ndarray | None = AFFINE
) -> BodyMasks:
    """Return body and lungs of the chest with these nodules."""
    hu = chest(SCAN, nodules)
    return BodyMasks.of(coarse_view(lambda box: hu[box.slices], SCAN), affine=affine)


def scan_view(
    nodules: tuple[Nodule, ...] = NODULES, *, affine: np.ndarray | None = AFFINE
) -> DetectedScan:
    """Return a view of the chest with these nodules found."""
    hu, values = chest(SCAN, nodules), heat(SCAN, nodules)
    scan = Volume(lambda box: hu[box.slices], SCAN)
    heatmap = Volume(lambda box: values[box.slices], SCAN)
    masks = body_masks(nodules, affine=affine)
    chosen, _ = find_nodules(heatmap, scan, masks, DetectionSettings())
    found = describe_nodules(chosen, SCAN, SCAN, masks.lungs, affine=affine)
    z, y, x = SCAN.shape
    document = Detections(
        scan_id="patient <1>",
        model="chest",
        timestamp="2026-01-31T12:00:00Z",
        metadata=ScanMetadata(spacing=(4, 4, 4), shape=(x, y, z)),
        detections=found,
        summary=summarize(found, triaged=False),
    )
    return DetectedScan(scan, heatmap, affine, document)
