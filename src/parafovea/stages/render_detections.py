"""Stage render_detections: page, figures, PDF and interactive view of the detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.postprocess.detection.detection_files import load_detections
from parafovea.postprocess.detection.heatmap import Volume, open_heatmap
from parafovea.preprocess.body_masks import stored_masks
from parafovea.report.canvas import styled
from parafovea.report.detections.confidence_plot import draw_confidences
from parafovea.report.detections.pdf import write_detection_pdf
from parafovea.report.detections.scan_view import view_detections
from parafovea.report.detections.scene import write_scene
from parafovea.report.detections.slices import DetectedScan, best_slice, draw_detections
from parafovea.report.page import write_page
from parafovea.report.thumbnail import write_thumbnail
from parafovea.settings.postprocess import DetectionSettings
from parafovea.settings.report import VisualizationSettings
from parafovea.stages.detect_nodules import open_scan
from parafovea.storage.store import replacing


def render_detections(
    volume: Path,
    detections: Path,
    prediction: Path,
    quality: Path,
    metrics: Path,
    html: Path,
    visualization: Path,
    confidences: Path,
    thumbnail: Path,
    pdf: Path | None = None,
    scene: Path | None = None,
    *,
    sample: str,
    source: str,
    metadata: str = "",
    channels: Sequence[str] = (),
    settings: VisualizationSettings | Mapping[str, Any],
    detection: DetectionSettings | Mapping[str, Any],
    triage: Mapping[str, Any],
    title: str | None = None,
) -> None:
    """Draw the results of `detect_nodules`, reproducibly for the same input.

    Parameters
    ----------
    volume : Path
        Store of the scan's normalized volume, with body and lung masks.
    detections : Path
        JSON file of `detect_nodules`.
    prediction : Path
        Store with the heatmap.
    quality, metrics : Path
        JSON and table of `measure_detections`.
    html : Path
        Page of the sample to write.
    visualization, confidences : Path
        PNG files to write: slices through the best detections, and all confidences.
    thumbnail : Path
        Small JPEG to write, of the slice through the best detection, for the page of all samples.
    pdf, scene : Path, optional
        Optional further files to write: the report as PDF, and the interactive 3D page.
    sample : str
        Name of the sample on the page.
    source : str
        The scan, as in the sample sheet.
    metadata : str
        The sheet's `metadata` of the sample.
    channels : sequence of str
        Names of the scan's channels, the first of which is drawn; empty for one unnamed channel.
    settings : mapping
        Fields of `VisualizationSettings`.
    detection : mapping
        The `DetectionSettings` used to find the detections.
    triage : mapping
        Provenance of the risks.
    title : str, optional
        Heading of the page; the sample's name by default.

    Raises
    ------
    SourceError
        If the scan cannot be read.
    StoreError
        If the prediction, the detections or their quality are missing or damaged, or the volume
        has no body mask.
    """
    drawn = VisualizationSettings.model_validate(settings)
    chosen = DetectionSettings.model_validate(detection)
    document = load_detections(detections)
    heatmap = open_heatmap(prediction)
    scan = open_scan(source, metadata=metadata, grid=heatmap.grid, channels=channels)
    shown = channels[0] if channels else ""
    view = DetectedScan(Volume(scan.read, scan.grid), heatmap, scan.affine, document, shown)
    least = chosen.confidence_filter.min_confidence
    with styled():
        with replacing(visualization) as path:
            slices = draw_detections(
                view,
                path,
                num_slices=drawn.num_slices,
                colormap=drawn.colormap,
                overlay_alpha=drawn.overlay_alpha,
            )
        with replacing(confidences) as path:
            chances = draw_confidences(document, path, min_confidence=least)
        with replacing(thumbnail) as path:
            picture = best_slice(view, drawn.colormap, drawn.overlay_alpha)
            write_thumbnail(picture, path, extent=view.axial.extent)
        if pdf is not None:
            with replacing(pdf) as path:
                write_detection_pdf(
                    view,
                    path,
                    num_slices=drawn.num_slices,
                    colormap=drawn.colormap,
                    overlay_alpha=drawn.overlay_alpha,
                    min_confidence=least,
                )
    if scene is not None:
        write_scene(view, stored_masks(volume), scene, threshold=chosen.peak_detection.threshold)
    named = {"Report as PDF": pdf, "In three dimensions": scene}
    page = view_detections(
        prediction,
        detections,
        quality,
        metrics,
        (slices, chances),
        sample=sample,
        title=title,
        links={words: path.name for words, path in named.items() if path is not None},
        page=html,
        settings={"detection": chosen.model_dump(mode="json"), "triage": dict(triage)},
    )
    write_page(html, "detections.html.jinja", view=page)
