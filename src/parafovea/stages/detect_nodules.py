"""Stage detect_nodules: from a heatmap to the detections of a scan, as JSON and CSV."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

import numpy as np
import pandas as pd

from parafovea.errors import CalibrationError, StoreError
from parafovea.formats.metadata import parse_metadata
from parafovea.formats.nifti import write_heatmap
from parafovea.formats.opening import open_source
from parafovea.formats.source import Source
from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import Box, Grid, vector3
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
from parafovea.postprocess.detection.nodules import (
    Score,
    Volume,
    describe_candidates,
    select_candidates,
    within_body,
)
from parafovea.preprocess.body_masks import stored_masks
from parafovea.settings.postprocess import DetectionSettings
from parafovea.storage.provenance import NO_TIME
from parafovea.storage.store import Stored, open_stored, replacing

_LOG = logging.getLogger(__name__)


def detect_nodules(
    prediction: Path,
    volume: Path,
    source: str,
    json_output: Path,
    csv_output: Path,
    *,
    heatmap_output: Path | None = None,
    metadata: str = "",
    folder: Path = Path(),
    scan_id: str,
    model: str | None = None,
    timestamp: str = NO_TIME,
    settings: DetectionSettings,
    channel: str | None = None,
    calibration: Path | None = None,
    limits: Mapping[str, float] | None = None,
    seconds: Callable[[], float] | None = None,
) -> Detections:
    """Turn a heatmap into detections in the patient's coordinates.

    The order is: peaks and their regions, suppression of overlaps, size, confidence, place,
    measures, triage. Memory is bounded by a slab of the scan, and by the largest region of the
    heatmap.

    Parameters
    ----------
    prediction : Path
        Store of (channel, z, y, x) values in [0, 1] on a grid in the world of the source.
    volume : Path
        Store of the scan's normalized volume, with body and lungs.
    source : str
        The scan in HU, as in the sample sheet.
    json_output, csv_output : Path
        Files to write.
    heatmap_output : Path, optional
        NIfTI file of the heatmap to write, in the scan's own voxels.
    metadata : str
        The sheet's `metadata` of the sample.
    folder : Path
        Folder that relative sidecar paths count from.
    scan_id : str
        Name of the scan in the files.
    model : str, optional
        Name of the model in the files; by default the one that the prediction's record has.
    timestamp : str
        UTC, such as "2026-01-31T12:00:00Z"; the caller's, so that a rerun gives the same bytes:
        see `timestamps`.
    settings : DetectionSettings
        The choices.
    channel : str, optional
        Name of the heatmap's channel; by default the only one, or the second of two, after the
        background.
    calibration : Path, optional
        File of `parafovea calibrate`. Without it the files have no triage.
    limits : mapping of str to float, optional
        Where the risks low, intermediate and high begin, as for `risk_category`; needed with a
        calibration.
    seconds : callable, optional
        Asked at the end how long the scan took, for the summary; a rerun gives other bytes then.

    Returns
    -------
    Detections
        What the files say.

    Raises
    ------
    CalibrationError
        If the calibration cannot be read or belongs to another model, or the limits are none.
    SourceError
        If the scan cannot be read.
    StoreError
        If the prediction is missing, damaged or has no such channel, or the volume has no body.
    VoxelError
        If a value of the heatmap is no probability.
    """
    heatmap = open_heatmap(prediction, channel)
    masks = stored_masks(volume)
    stated = open_stored(prediction).attributes.get("model")
    made: Mapping[str, object] = stated if isinstance(stated, Mapping) else {}
    score = None
    if calibration is not None:
        owned = made.get("sha256")
        known = None if owned is None else str(owned)
        score = triage_score(read_calibration(calibration, model_sha256=known), limits or {})
    with unchanged(source) as check:
        scan = open_scan(source, metadata=metadata, folder=folder, grid=heatmap.grid)
        candidates = select_candidates(heatmap, settings)
        outside = 0 if settings.body_filter.enabled else None
        found: tuple[Detection, ...] = ()
        if candidates:
            if settings.body_filter.enabled:
                inside = within_body(candidates, heatmap.grid, masks.body)
                outside = len(candidates) - len(inside)
                candidates = inside
            found = describe_candidates(
                candidates,
                heatmap,
                Volume(scan.read, scan.grid),
                masks.lungs,
                affine=scan.affine,
                threshold=settings.peak_detection.threshold,
                score=score,
            )
        document = Detections(
            scan_id=scan_id,
            model=model or str(made.get("name") or "unknown"),
            timestamp=timestamp,
            metadata=_metadata(scan.grid),
            detections=found,
            summary=summarize(
                found,
                triaged=score is not None,
                outside_body=outside,
                seconds=None if seconds is None else seconds(),
            ),
        )
        check()
    if heatmap_output is not None:
        space = ScanSpace(scan.grid, scan.affine)
        write_heatmap(heatmap_output, heatmap.read, heatmap.grid, space=space)
    write_detections(document, json_output, csv_output)
    _LOG.info("%s: %d detections", scan_id, len(found))
    if outside:
        _LOG.info("%s: %d candidates outside of the body are left out", scan_id, outside)
    return document


def triage_score(calibration: Calibration, limits: Mapping[str, float]) -> Score:
    """Return what gives candidates their triage: the calibrated probability and its category.

    Parameters
    ----------
    calibration : Calibration
        Of the model that found them.
    limits : mapping of str to float
        As for `risk_category`; its names are low, intermediate and high, or some of them.

    Raises
    ------
    CalibrationError
        If the limits cannot be right.
    """
    unknown = [name for name in limits if name not in get_args(RiskCategory)]
    if unknown:
        raise CalibrationError(
            f"triage.limits names the risk {unknown[0]!r}: use {', '.join(get_args(RiskCategory))}"
        )
    # before there is a candidate to tell
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


def write_detections(document: Detections, json_output: Path, csv_output: Path) -> None:
    """Write both files of detections, each whole or not at all."""
    with replacing(json_output) as json_path, replacing(csv_output) as csv_path:
        json_path.write_text(detections_json(document), encoding="utf-8", newline="\n")
        csv_path.write_text(detections_csv(document), encoding="utf-8", newline="\n")


def open_heatmap(prediction: Path, channel: str | None = None) -> Volume:
    """Open one channel of a prediction as a heatmap in millimetres.

    Parameters
    ----------
    prediction : Path
        Store of (channel, z, y, x) floating-point values.
    channel : str, optional
        As for `detect_nodules`.

    Raises
    ------
    StoreError
        If the prediction is missing, damaged or has no such channel.
    """
    stored = open_stored(prediction)
    index = _channel(stored, prediction, channel)

    def read(box: Box) -> np.ndarray:
        # A slice, not a number: zarrs reads a box within a chunk of several channels only so.
        return np.asarray(np.asarray(stored.array[(slice(index, index + 1), *box.slices)])[0])

    return Volume(read, stored.grid.converted("millimeter"))


def _channel(stored: Stored, prediction: Path, channel: str | None) -> int:
    names = stored.channels or ()
    if channel is None and len(names) in (1, 2):
        return len(names) - 1
    if channel is not None and channel in names:
        return names.index(channel)
    wanted = "one heatmap" if channel is None else f"channel {channel!r}"
    raise StoreError(
        f"{prediction} has no {wanted}: its channels are {', '.join(names) or 'none'}; name one of "
        "them, or predict with a model of kind detection"
    )


def open_scan(source: str, *, metadata: str, folder: Path, grid: Grid) -> Source:
    """Open the scan that a heatmap of this grid was predicted from."""
    return open_source(
        source,
        metadata=parse_metadata(metadata, folder=folder),
        finer_than=grid.spacing,
        unit=grid.unit,
    )


def _metadata(grid: Grid) -> ScanMetadata:
    z, y, x = vector3([rounded_length(s) for s in grid.converted("millimeter").spacing])
    depth, height, width = grid.shape
    return ScanMetadata(spacing=(x, y, z), shape=(width, height, depth))
