"""Figures, report and interactive view of the detections of a scan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import ConfigError, GridError
from parafovea.geometry.grid import Shape
from parafovea.geometry.placed_array import PlacedArray
from parafovea.geometry.scan_space import ScanSpace
from parafovea.guide.arguments import AnyPath, validated, with_ending
from parafovea.guide.detection_list import DetectionDict, DetectionList, document_of, loaded
from parafovea.guide.placed_scans import opened_scan, space_of, volume_of
from parafovea.inference.array_inputs import checked_volume
from parafovea.postprocess.detection.detection_files import ScanMetadata
from parafovea.postprocess.detection.heatmap import Volume
from parafovea.preprocess.body_masks import BodyMasks
from parafovea.preprocess.coarse_view import coarse_view
from parafovea.report.canvas import styled
from parafovea.report.detections.confidence_plot import draw_confidences
from parafovea.report.detections.pdf import write_detection_pdf
from parafovea.report.detections.scene import write_scene
from parafovea.report.detections.slices import DetectedScan, draw_detections
from parafovea.settings.report import VisualizationSettings
from parafovea.stages.detect_nodules import scan_metadata
from parafovea.storage.store import replacing

_LOG = logging.getLogger(__name__)


def visualize_detections(
    scan: NDArray[Any],
    detections: Sequence[DetectionDict],
    spacing: Sequence[float] | None = None,
    output_path: AnyPath = "visualization.png",
    num_slices: int = 5,
    colormap: str = "hot",
    alpha: float = 0.5,
    *,
    heatmap: NDArray[Any] | AnyPath | None = None,
) -> Path:
    """Draw axial slices through the most confident detections.

    Parameters
    ----------
    scan : ndarray
        (z, y, x), HU.
    detections : sequence of dict
        Of this scan, with all keys of `detections.json` but the id.
    spacing : sequence of float, optional
        Voxel size along z, y, x in mm; may be omitted for a scan that knows its place.
    output_path : str or Path
        PNG file to write.
    num_slices : int
        Maximum number of slices.
    colormap : str
        Colormap of the heatmap.
    alpha : float
        Opacity of the heatmap where it is 1.
    heatmap : ndarray or path, optional
        On the voxels of the scan; by default that of the detections, as `predict` returned them.
        Without any, `colormap` and `alpha` have no effect, which is logged.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TableError
        If a detection lacks a key, or has an invalid value.
    GridError
        If scan, heatmap and detections do not fit each other.
    ConfigError
        If a setting is invalid, or the file is no PNG.
    """
    path = with_ending(output_path, ".png")
    values = checked_volume(scan, "scan")
    space = space_of(scan, spacing, "scan")
    name = getattr(scan, "name", "") or "scan"
    view = _view(volume_of(values, space), space, detections, heatmap, name)
    look = _look(num_slices, colormap, alpha)
    if view.heatmap is None:
        _LOG.warning(
            "no heatmap is known for these detections, so that colormap and alpha have no effect: "
            "give heatmap="
        )
    with styled(), replacing(path) as partial:
        draw_detections(view, partial, **look)
    return path


def generate_report(
    scan_path: AnyPath,
    detections: Sequence[DetectionDict] | AnyPath,
    output_path: AnyPath,
    *,
    heatmap: NDArray[Any] | AnyPath | None = None,
    metadata: str = "",
) -> Path:
    """Write the report of a scan as PDF: a table, slices, and the confidences.

    Parameters
    ----------
    scan_path : str or Path
        The scan, as for `load_scan`.
    detections : sequence of dict, or path
        As for `visualize_detections`, or a `detections.json`.
    output_path : str or Path
        PDF file to write.
    heatmap : ndarray or path, optional
        As for `visualize_detections`.
    metadata : str
        As for `load_scan`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SourceError
        If the scan cannot be read.
    TableError, StoreError, GridError, ConfigError
        As `visualize_detections` and `load_detections`.
    """
    path = with_ending(output_path, ".pdf")
    scan, space, name = opened_scan(scan_path, metadata)
    view = _view(scan, space, loaded(detections), heatmap, name)
    with styled(), replacing(path) as partial:
        write_detection_pdf(view, partial)
    return path


def render_3d_volume(
    scan: NDArray[Any] | AnyPath,
    heatmap: NDArray[Any] | AnyPath,
    detections: Sequence[DetectionDict] | AnyPath,
    output_path: AnyPath,
    interactive: bool = True,
    *,
    spacing: Sequence[float] | None = None,
    threshold: float = 0.5,
) -> Path:
    """Write an interactive page with body, lungs, heatmap and detections in three dimensions.

    Parameters
    ----------
    scan : path or ndarray
        (z, y, x), HU: a CT that shows a body.
    heatmap : path or ndarray
        On the voxels of the scan.
    detections : path or sequence of dict
        As for `visualize_detections`, or a `detections.json`.
    output_path : str or Path
        HTML file to write; it works offline.
    interactive : bool
        Must be true: pictures are drawn by `visualize_detections`.
    spacing : sequence of float, optional
        Voxel size of an array along z, y, x in mm.
    threshold : float
        Value of the heatmap at the surface that is shown.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    VoxelError
        If the scan shows nothing denser than air.
    SourceError, TableError, StoreError, GridError, ConfigError
        As `visualize_detections`.
    """
    if not interactive:
        raise ConfigError(
            "interactive=False: the three-dimensional view is a page; draw pictures with "
            "visualize_detections"
        )
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold {threshold:g} must be above 0 and at most 1")
    path = with_ending(output_path, ".html")
    if isinstance(scan, str | Path):
        volume, space, name = opened_scan(scan, "")
    else:
        space = space_of(scan, spacing, "scan")
        volume = volume_of(checked_volume(scan, "scan"), space)
        name = getattr(scan, "name", "") or "scan"
    view = _view(volume, space, loaded(detections), heatmap, name)
    masks = BodyMasks.of(coarse_view(volume.read, volume.grid), affine=space.affine)
    write_scene(view, masks, path, threshold=threshold)
    return path


def plot_confidence_distribution(
    detections: Sequence[DetectionDict] | AnyPath,
    output_path: AnyPath,
    *,
    min_confidence: float | None = None,
) -> Path:
    """Draw a histogram of the confidences, and each detection at its diameter.

    Parameters
    ----------
    detections : path or sequence of dict
        A `detections.json`, or detections with all of its keys but the id.
    output_path : str or Path
        PNG file to write.
    min_confidence : float, optional
        Threshold of the detections, drawn as a line.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TableError, StoreError, ConfigError
        As `visualize_detections` and `load_detections`.
    """
    path = with_ending(output_path, ".png")
    # the figure does not show the size of the scan, which a plain list does not know
    unknown = ScanMetadata(spacing=(1, 1, 1), shape=(1, 1, 1))
    document = document_of(loaded(detections), "scan", unknown)
    with styled(), replacing(path) as partial:
        draw_confidences(document, partial, min_confidence=min_confidence)
    return path


def _look(num_slices: int, colormap: str, alpha: float) -> dict[str, Any]:
    given = {"num_slices": num_slices, "colormap": colormap, "overlay_alpha": alpha}
    return cast(dict[str, Any], validated(VisualizationSettings, given).model_dump())


def _view(
    scan: Volume,
    space: ScanSpace,
    detections: Sequence[DetectionDict],
    heatmap: NDArray[Any] | AnyPath | None,
    name: str,
) -> DetectedScan:
    """Return what figures show, once scan, heatmap and detections fit each other."""
    document = document_of(detections, name, scan_metadata(scan.grid))
    if document.metadata.shape != scan.grid.shape[::-1]:
        raise GridError(
            f"the detections are of a scan of {document.metadata.shape} voxels (x, y, z), but this "
            f"one has {scan.grid.shape[::-1]}: give the scan that they were found in"
        )
    own = detections.heatmap if isinstance(detections, DetectionList) else None
    given = own if heatmap is None else heatmap
    heat = None
    if isinstance(given, str | Path):
        opened, place, _ = opened_scan(given, "")
        _check_shape(opened.grid.shape, scan.grid.shape)
        _check_place(place, space)
        heat = Volume(opened.read, scan.grid)
    elif given is not None:
        values = checked_volume(given, "heatmap")
        _check_shape(cast(Any, values.shape), scan.grid.shape)
        if isinstance(given, PlacedArray) and given.space is not None:
            _check_place(given.space, space)
        heat = volume_of(values, space)
    view = DetectedScan(scan, heat, space.affine, document)
    away = (view.indices() < -1) | (view.indices() > np.array(scan.grid.shape))
    if away.any():
        row = int(np.flatnonzero(away.any(axis=1))[0])
        raise GridError(
            f"detection {row} at {document.detections[row].coordinates} (x, y, z in mm) lies "
            "outside of the scan: give the scan as load_scan returned it, with its place"
        )
    return view


def _check_shape(heatmap: Shape, scan: Shape) -> None:
    """Raise `GridError` if a heatmap has another shape than its scan."""
    if tuple(heatmap) != tuple(scan):
        raise GridError(
            f"the heatmap has {tuple(heatmap)} voxels, but the scan {tuple(scan)} (z, y, x): give "
            "the heatmap of this scan"
        )


def _check_place(heatmap: ScanSpace, scan: ScanSpace) -> None:
    """Raise `GridError` if a heatmap of the scan's shape lies elsewhere in the patient."""
    # along each axis, so that swapped axes of one length are found
    corners = np.vstack([np.zeros(3), np.diag(np.array(scan.grid.shape) - 1.0)])
    apart = float(np.abs(heatmap.world_of_voxel(corners) - scan.world_of_voxel(corners)).max())
    if apart > min(scan.grid.converted("millimeter").spacing) / 2:
        raise GridError(
            f"the heatmap lies {apart:.1f} mm from the scan: give the heatmap of this scan, and "
            "the scan as load_scan returned it"
        )
