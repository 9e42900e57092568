"""Stage detect_nodules: converts a heatmap to the detections of a scan, as JSON and CSV."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import pandas as pd

from parafovea.errors import CalibrationError
from parafovea.formats.channels import open_input
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.nifti import write_heatmap
from parafovea.formats.source import Source
from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import Grid, vector3
from parafovea.geometry.scan_space import ScanSpace
from parafovea.postprocess.detection.calibration import Calibration, read_calibration, risk_category
from parafovea.postprocess.detection.detection_files import (
    Detection,
    Detections,
    RiskCategory,
    ScanMetadata,
    Triage,
    detections_csv,
    detections_json,
    rounded_length,
    summarize,
)
from parafovea.postprocess.detection.heatmap import Volume, open_heatmap
from parafovea.postprocess.detection.nodules import (
    Score,
    describe_nodules,
    find_nodules,
)
from parafovea.preprocess.body_masks import BodyMasks, stored_masks
from parafovea.settings.postprocess import DetectionSettings
from parafovea.storage.provenance import Clock, stated_time
from parafovea.storage.store import open_stored, replacing

_LOG = logging.getLogger(__name__)


def detect_nodules(
    prediction: Path,
    volume: Path,
    detections: Path,
    table: Path,
    heatmap: Path | None = None,
    *,
    sample: str,
    source: str,
    metadata: str = "",
    channels: Sequence[str] = (),
    settings: DetectionSettings | Mapping[str, Any],
    confidence: str | Path | None = None,
    calibration: str | Path | None,
    limits: Mapping[str, float],
    clock: Clock | None = None,
) -> Detections:
    """Convert a heatmap to detections in patient coordinates.

    The steps are: peaks and their regions, suppression of overlaps, confidence, extent in the scan,
    size, position, properties, triage. Memory is bounded by a slab of the scan, and by the largest
    region of the heatmap.

    Parameters
    ----------
    prediction : Path
        Store of (channel, z, y, x) values in [0, 1] on a grid in the world of the source.
    volume : Path
        Store of the scan's normalized volume, with body and lung masks.
    detections, table : Path
        JSON and CSV files to write.
    heatmap : Path, optional
        NIfTI file of the heatmap to write, in the scan's own voxels.
    sample : str
        Name of the scan in the files.
    source : str
        The scan in HU, as in the sample sheet.
    metadata : str
        The sheet's `metadata` of the sample.
    channels : sequence of str
        Names of the scan's channels, of which the first is measured; empty for one unnamed channel.
    settings : mapping
        Fields of `DetectionSettings`.
    confidence : str or None
        File of `parafovea calibrate` that maps the heights of peaks to confidences; None takes the
        heights.
    calibration : str or None
        File of `parafovea calibrate`. Without it, the files contain no triage.
    limits : mapping of str to float
        Lower bounds of the risks low, intermediate and high, as for `risk_category`; unused
        without a calibration.
    clock : Clock, optional
        Provides the timestamp of the files and the duration in their summary, so that reruns give
        different bytes. By default, the timestamp is `stated_time` and there is no duration.

    Returns
    -------
    Detections
        The content of the files.

    Raises
    ------
    CalibrationError
        If the calibration cannot be read or belongs to another model, or the limits are invalid.
    SourceError
        If the scan cannot be read.
    StoreError
        If the prediction is missing, damaged or has more than one heatmap, or the volume has no
        body mask.
    VoxelError
        If a value of the heatmap is not a probability.
    """
    chosen = DetectionSettings.model_validate(settings)
    heat = open_heatmap(prediction)
    masks = stored_masks(volume)
    stated = open_stored(prediction).attributes.get("model")
    made: Mapping[str, object] = stated if isinstance(stated, Mapping) else {}
    owned = made.get("sha256")
    known = None if owned is None else str(owned)
    sure = None if confidence is None else read_calibration(Path(confidence), model_sha256=known)
    score = None
    if calibration is not None:
        score = triage_score(read_calibration(Path(calibration), model_sha256=known), limits)
    with unchanged(source) as check:
        scan = open_scan(source, metadata=metadata, grid=heat.grid, channels=channels)
        found, outside = _found(heat, scan, masks, chosen, sure, score)
        document = Detections(
            scan_id=sample,
            model=str(made.get("name") or "unknown"),
            timestamp=stated_time() if clock is None else clock.timestamp,
            metadata=scan_metadata(scan.grid),
            detections=found,
            summary=summarize(
                found,
                triaged=score is not None,
                outside_body=outside,
                seconds=None if clock is None else clock.seconds(),
            ),
        )
        check()
    if heatmap is not None:
        space = ScanSpace(scan.grid, scan.affine)
        write_heatmap(heatmap, heat.read, heat.grid, space=space)
    write_detections(document, detections, table)
    if masks.lungs is None:
        _LOG.warning(
            "%s shows no lungs, so no detection has a distance to their border: check that it "
            "is a CT of the chest in HU",
            sample,
        )
    _LOG.info("%s: %d detections", sample, len(found))
    if outside:
        _LOG.info("%s: %d candidates outside the body are left out", sample, outside)
    return document


def _found(
    heat: Volume,
    scan: Source,
    masks: BodyMasks,
    settings: DetectionSettings,
    confidence: Calibration | None,
    score: Score | None,
) -> tuple[tuple[Detection, ...], int | None]:
    """Return the detections, and the number of candidates outside of the body, if filtered."""
    nodules, outside = find_nodules(
        heat, Volume(scan.read, scan.grid), masks, settings, confidence=confidence
    )
    found = describe_nodules(
        nodules, heat.grid, scan.grid, masks.lungs, affine=scan.affine, score=score
    )
    return found, outside


def triage_score(calibration: Calibration, limits: Mapping[str, float]) -> Score:
    """Return a function that maps candidates to calibrated probability and risk category.

    Parameters
    ----------
    calibration : Calibration
        Calibration of the model that found the candidates.
    limits : mapping of str to float
        As for `risk_category`; the names are a subset of low, intermediate and high.

    Raises
    ------
    CalibrationError
        If the limits are invalid.
    """
    unknown = [name for name in limits if name not in get_args(RiskCategory)]
    if unknown:
        raise CalibrationError(
            f"triage.limits names the risk {unknown[0]!r}: use {', '.join(get_args(RiskCategory))}"
        )
    # so that invalid limits fail even without a candidate
    risk_category(0.0, limits)

    def score(table: pd.DataFrame) -> Sequence[Triage]:
        chances = calibration.apply(table["probability"].to_numpy(float))
        return [
            Triage(
                malignancy_score=float(chance),
                risk_category=cast(RiskCategory, risk_category(float(chance), limits)),
            )
            for chance in chances
        ]

    return score


def write_detections(document: Detections, detections: Path, table: Path) -> None:
    """Write both files of detections, each atomically."""
    with replacing(detections) as json_path, replacing(table) as csv_path:
        json_path.write_text(detections_json(document), encoding="utf-8", newline="\n")
        csv_path.write_text(detections_csv(document), encoding="utf-8", newline="\n")


def open_scan(source: str, *, metadata: str, grid: Grid, channels: Sequence[str] = ()) -> Source:
    """Open the scan of a heatmap on this grid, of several channels the first."""
    return open_input(
        source,
        channels=channels,
        metadata=parse_metadata(metadata, folder=Path()),
        finer_than=grid.spacing,
        unit=grid.unit,
    )[0].source


def scan_metadata(grid: Grid) -> ScanMetadata:
    """Return spacing in millimetres and shape of a scan along x, y, z, as in the files."""
    z, y, x = vector3([rounded_length(s) for s in grid.converted("millimeter").spacing])
    depth, height, width = grid.shape
    return ScanMetadata(spacing=(x, y, z), shape=(width, height, depth))
