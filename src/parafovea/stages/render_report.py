"""Stage render_report: figures and HTML report of a segmented sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.formats import Source
from parafovea.formats.truth import open_truth
from parafovea.geometry.grid import Box, Grid
from parafovea.quality.truth_on_grid import SampledTruth
from parafovea.report.canvas import Drawing, styled
from parafovea.report.charts import draw_sizes
from parafovea.report.page import write_page
from parafovea.report.planes import choose_planes
from parafovea.report.sample_results import read_objects
from parafovea.report.segmentation.overlays import draw_overlays, overlaid, read_planes
from parafovea.report.segmentation.probability_maps import draw_probabilities
from parafovea.report.segmentation.sample_view import (
    SegmentationResults,
    class_names,
    view_sample,
)
from parafovea.report.thumbnail import write_thumbnail
from parafovea.settings.report import ReportSettings
from parafovea.storage.store import open_stored, replacing

_DEFAULTS = ReportSettings()


def render_report(
    volume: Path,
    prediction: Path,
    classes: Path,
    objects: Path,
    table: Path,
    quality: Path,
    metrics: Path,
    html: Path,
    overlays: Path,
    probabilities: Path,
    sizes: Path,
    thumbnail: Path,
    *,
    sample: str,
    truth: str | None = None,
    metadata: str = "",
    settings: ReportSettings | Mapping[str, Any] = _DEFAULTS,
    title: str | None = None,
) -> None:
    """Draw a sample's figures and write its report.

    Only the planes shown are read. The same results give the same bytes.

    Parameters
    ----------
    volume, prediction : Path
        Stores of the normalized volume and of the class probabilities.
    classes, objects, table : Path
        Stores and table that `segment_objects` wrote.
    quality, metrics : Path
        JSON and table that `measure_quality` wrote.
    html : Path
        Self-contained page to write.
    overlays, probabilities, sizes : Path
        PNGs to write.
    thumbnail : Path
        Small JPEG to write, for the page of all samples.
    sample : str
        Name of the sample.
    truth : str or None
        Path of the true class indices, as in the sample sheet.
    metadata : str
        The sheet's `metadata` of the sample.
    settings : mapping
        Settings of the figures: the fields of `ReportSettings`.
    title : str, optional
        Heading of the page; the sample's name by default.

    Raises
    ------
    SourceError
        If the truth cannot be read.
    StoreError
        If a result of an earlier stage is missing or damaged.
    """
    settings = ReportSettings.model_validate(settings)
    results = SegmentationResults(volume, prediction, classes, objects, table, quality, metrics)
    with (
        replacing(overlays) as overlay_file,
        replacing(probabilities) as probability_file,
        replacing(sizes) as size_file,
        replacing(thumbnail) as thumbnail_file,
    ):
        files = (overlay_file, probability_file, size_file, thumbnail_file)
        drawings = _draw(results, files, truth=truth, metadata=metadata, settings=settings)
        view = view_sample(results, drawings, sample=sample, title=title, page=html)
        write_page(html, "sample.html.jinja", view=view)


def _draw(
    results: SegmentationResults,
    files: tuple[Path, Path, Path, Path],
    *,
    truth: str | None,
    metadata: str,
    settings: ReportSettings,
) -> tuple[Drawing, ...]:
    overlays, probabilities, sizes, thumbnail = files
    volume, prediction = open_stored(results.volume), open_stored(results.prediction)
    labels = open_truth(truth, metadata=metadata, like=volume.attributes.get("source"))
    classes = class_names(prediction.channels)
    shown = None if labels is None else ShownTruth(labels, volume.grid, len(classes))
    slices, max_pixels = settings.slices, settings.max_pixels
    planes = choose_planes(volume.grid, slices, max_pixels)
    views = read_planes(planes, volume.first_channel, open_stored(results.classes), shown)
    flat = choose_planes(prediction.grid, slices, max_pixels)
    middle = flat[sum(plane.axis == 0 for plane in flat) // 2]
    objects = read_objects(results.object_table)
    shown_flat = [view for view in views if view.plane.axis == 0]
    small = shown_flat[len(shown_flat) // 2]
    picture = overlaid(small, classes, alpha=settings.overlay_alpha)
    write_thumbnail(picture, thumbnail, extent=small.plane.extent)
    with styled():
        return (
            draw_overlays(
                views,
                classes,
                overlays,
                alpha=settings.overlay_alpha,
                channels=volume.channels or (),
            ),
            draw_probabilities(prediction, middle, classes, probabilities),
            draw_sizes(objects, classes, prediction.grid.unit, sizes),
        )


class ShownTruth:
    """A truth as figures show it: what nobody has labelled is drawn as background.

    Parameters
    ----------
    truth : Source
        Class indices.
    grid : Grid
        Of the volume.
    classes : int
        Number of classes.

    Attributes
    ----------
    grid : Grid
        That of the truth; that of the volume for a truth of a part of it.
    """

    def __init__(self, truth: Source, grid: Grid, classes: int) -> None:
        sampled = SampledTruth(truth, grid, classes=classes)
        self.grid = grid if sampled.is_partial else truth.grid
        self._read = sampled.read if sampled.is_partial else truth.read
        self._classes = classes

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Return the class indices of a box of the grid, (z, y, x)."""
        labels = self._read(box)
        return np.where((labels >= 0) & (labels < self._classes), labels, labels.dtype.type(0))
