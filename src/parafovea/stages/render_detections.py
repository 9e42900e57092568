"""Stage render_detections: the page, pictures, a PDF and an interactive page of detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea.postprocess.detection.detection_files import load_detections
from parafovea.postprocess.detection.nodules import Volume
from parafovea.preprocess.body_masks import stored_masks
from parafovea.report.canvas import open_drawing, styled
from parafovea.report.detections.confidence_plot import draw_confidences
from parafovea.report.detections.pdf import write_detection_pdf
from parafovea.report.detections.scan_view import view_detections
from parafovea.report.detections.scene import write_scene
from parafovea.report.detections.slices import ScanView, draw_detections
from parafovea.report.page import write_page
from parafovea.settings.postprocess import DetectionSettings
from parafovea.settings.report import VisualizationSettings
from parafovea.stages.detect_nodules import open_heatmap, open_scan
from parafovea.storage.store import replacing


@dataclass(frozen=True, slots=True)
class DetectionPictures:
    """What `render_detections` writes.

    Parameters
    ----------
    visualization, confidences : Path
        PNG files: slices through the best detections, and all confidences.
    pdf, scene, html : Path, optional
        The report as PDF, the page in three dimensions and the page of the sample,
        all beside each other.
    """

    visualization: Path
    confidences: Path
    pdf: Path | None = None
    scene: Path | None = None
    html: Path | None = None


def render_detections(
    prediction: Path,
    volume: Path,
    source: str,
    detections: Path,
    outputs: DetectionPictures,
    *,
    quality: Path | None = None,
    metrics: Path | None = None,
    sample: str = "",
    title: str | None = None,
    metadata: str = "",
    folder: Path = Path(),
    channel: str | None = None,
    settings: VisualizationSettings,
    detection: DetectionSettings,
    triage: Mapping[str, Any] | None = None,
) -> None:
    """Draw what `detect_nodules` found; the same input gives the same bytes.

    Parameters
    ----------
    prediction : Path
        Store with the heatmap.
    volume : Path
        Store of the scan's normalized volume, with body and lungs.
    source : str
        The scan, as in the sample sheet.
    detections : Path
        JSON file of `detect_nodules`.
    outputs : DetectionPictures
        Where to write.
    quality, metrics : Path, optional
        JSON and table of `measure_detections`; the page needs them.
    sample : str
        Name of the sample on the page; by default that of the scan.
    title : str, optional
        Heading of the page; the sample's name by default.
    metadata, folder, channel
        As for `detect_nodules`.
    settings : VisualizationSettings
        How it is drawn.
    detection : DetectionSettings
        That the detections were found with.
    triage : mapping, optional
        What gave them their risk, for the provenance.

    Raises
    ------
    SourceError
        If the scan cannot be read.
    StoreError
        If the prediction, the detections or their quality are missing or damaged, or the volume
        has no body.
    """
    document = load_detections(detections)
    heatmap = open_heatmap(prediction, channel)
    scan = open_scan(source, metadata=metadata, folder=folder, grid=heatmap.grid)
    view = ScanView(Volume(scan.read, scan.grid), heatmap, scan.affine, document)
    least = detection.confidence_filter.min_confidence
    with styled():
        with replacing(outputs.visualization) as path:
            draw_detections(
                view,
                path,
                num_slices=settings.num_slices,
                colormap=settings.colormap,
                overlay_alpha=settings.overlay_alpha,
            )
        with replacing(outputs.confidences) as path:
            draw_confidences(document, path, min_confidence=least)
        if outputs.pdf is not None:
            with replacing(outputs.pdf) as path:
                write_detection_pdf(
                    view,
                    path,
                    num_slices=settings.num_slices,
                    colormap=settings.colormap,
                    overlay_alpha=settings.overlay_alpha,
                    min_confidence=least,
                )
    if outputs.scene is not None:
        threshold = detection.peak_detection.threshold
        write_scene(view, stored_masks(volume), outputs.scene, threshold=threshold)
    if outputs.html is not None and quality is not None and metrics is not None:
        made = {"detection": detection.model_dump(mode="json"), "triage": dict(triage or {})}
        page = view_detections(
            prediction,
            detections,
            quality,
            metrics,
            [open_drawing(path) for path in (outputs.visualization, outputs.confidences)],
            sample=sample or document.scan_id,
            title=title,
            links=_links(outputs),
            settings=made,
        )
        write_page(outputs.html, "detections.html.jinja", view=page)


def _links(outputs: DetectionPictures) -> dict[str, str]:
    named = {"Report as PDF": outputs.pdf, "In three dimensions": outputs.scene}
    return {words: path.name for words, path in named.items() if path is not None}
