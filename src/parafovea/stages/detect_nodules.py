"""Stage detect_nodules: from a heatmap to the detections of a scan, as JSON and CSV."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from parafovea.errors import StoreError
from parafovea.grid import Box, Grid, vector3
from parafovea.postprocess.detections import (
    Detections,
    ScanMetadata,
    detections_csv,
    detections_json,
    rounded_length,
    summarize,
)
from parafovea.postprocess.nodules import Score, Volume, describe_candidates, select_candidates
from parafovea.postprocess.settings import DetectionSettings
from parafovea.readers import open_source
from parafovea.readers.metadata import parse_metadata
from parafovea.readers.source import Source
from parafovea.readers.unchanged import unchanged
from parafovea.store import Stored, open_stored, replacing

_LOG = logging.getLogger(__name__)


def detect_nodules(
    prediction: Path,
    source: str,
    json_output: Path,
    csv_output: Path,
    *,
    metadata: str = "",
    folder: Path = Path(),
    scan_id: str,
    model: str,
    timestamp: str,
    settings: DetectionSettings,
    channel: str | None = None,
    score: Score | None = None,
    seconds: float | None = None,
) -> Detections:
    """Turn a heatmap into detections in the patient's coordinates.

    The order is: peaks and their regions, suppression of overlaps, size, confidence, measures,
    triage. Memory is bounded by a slab of the scan, and by the largest region of the heatmap.

    Parameters
    ----------
    prediction : Path
        Store of (channel, z, y, x) values in [0, 1] on a grid in the world of the source.
    source : str
        The scan in HU, as in the sample sheet.
    json_output, csv_output : Path
        Files to write.
    metadata : str
        The sheet's `metadata` of the sample.
    folder : Path
        Folder that relative sidecar paths count from.
    scan_id : str
        Name of the scan in the files.
    model : str
        Name of the model in the files.
    timestamp : str
        UTC, such as "2026-01-31T12:00:00Z"; the caller's, so that a rerun gives the same bytes.
    settings : DetectionSettings
        The choices.
    channel : str, optional
        Name of the heatmap's channel; by default the only one, or the second of two, after the
        background.
    score : callable, optional
        A calibration: see `Score`. Without it the files have no triage.
    seconds : float, optional
        How long the scan took, for the summary.

    Returns
    -------
    Detections
        What the files say.

    Raises
    ------
    SourceError
        If the scan cannot be read, or has no body in it.
    StoreError
        If the prediction is missing, damaged or has no such channel.
    VoxelError
        If a value of the heatmap is no probability.
    """
    heatmap = open_heatmap(prediction, channel)
    with unchanged(source) as check:
        scan = open_scan(source, metadata=metadata, folder=folder, grid=heatmap.grid)
        candidates = select_candidates(heatmap, settings)
        found = describe_candidates(
            candidates,
            heatmap,
            Volume(scan.read, scan.grid),
            affine=scan.affine,
            threshold=settings.peak_detection.threshold,
            score=score,
        )
        check()
    document = Detections(
        scan_id=scan_id,
        model=model,
        timestamp=timestamp,
        metadata=_metadata(scan.grid),
        detections=found,
        summary=summarize(found, triaged=score is not None, seconds=seconds),
    )
    write_detections(document, json_output, csv_output)
    _LOG.info("%s: %d detections", scan_id, len(found))
    return document


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
