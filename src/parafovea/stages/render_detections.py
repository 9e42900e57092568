"""Stage render_detections: pictures, a PDF and an interactive page of a scan's detections."""

from __future__ import annotations

from pathlib import Path

from parafovea.postprocess.detections import load_detections
from parafovea.postprocess.nodules import Volume
from parafovea.postprocess.settings import DetectionSettings
from parafovea.report.canvas import styled
from parafovea.report.confidence import draw_confidences
from parafovea.report.detection_pdf import write_detection_pdf
from parafovea.report.detection_slices import ScanView, draw_detections
from parafovea.report.scene import write_scene
from parafovea.report.settings import VisualizationSettings
from parafovea.stages.detect_nodules import open_heatmap, open_scan
from parafovea.store import replacing


def render_detections(
    prediction: Path,
    source: str,
    detections: Path,
    *,
    visualization: Path,
    confidences: Path,
    pdf: Path | None = None,
    scene: Path | None = None,
    metadata: str = "",
    folder: Path = Path(),
    channel: str | None = None,
    settings: VisualizationSettings,
    detection: DetectionSettings,
) -> None:
    """Draw what `detect_nodules` found; the same input gives the same bytes.

    Parameters
    ----------
    prediction : Path
        Store with the heatmap.
    source : str
        The scan, as in the sample sheet.
    detections : Path
        JSON file of `detect_nodules`.
    visualization, confidences : Path
        PNG files to write: slices through the best detections, and all confidences.
    pdf : Path, optional
        Report to write.
    scene : Path, optional
        Page in three dimensions to write, whatever `settings.save_3d` says.
    metadata, folder, channel
        As for `detect_nodules`.
    settings : VisualizationSettings
        How it is drawn.
    detection : DetectionSettings
        That the detections were found with.

    Raises
    ------
    SourceError
        If the scan cannot be read, or has no body in it.
    StoreError
        If the prediction or the detections are missing or damaged.
    """
    document = load_detections(detections)
    heatmap = open_heatmap(prediction, channel)
    scan = open_scan(source, metadata=metadata, folder=folder, grid=heatmap.grid)
    view = ScanView(Volume(scan.read, scan.grid), heatmap, scan.affine, document)
    least = detection.confidence_filter.min_confidence
    with styled():
        with replacing(visualization) as path:
            draw_detections(
                view,
                path,
                num_slices=settings.num_slices,
                colormap=settings.colormap,
                overlay_alpha=settings.overlay_alpha,
            )
        with replacing(confidences) as path:
            draw_confidences(document, path, min_confidence=least)
        if pdf is not None:
            with replacing(pdf) as path:
                write_detection_pdf(
                    view,
                    path,
                    num_slices=settings.num_slices,
                    colormap=settings.colormap,
                    overlay_alpha=settings.overlay_alpha,
                    min_confidence=least,
                )
    if scene is not None:
        write_scene(view, scene, threshold=detection.peak_detection.threshold)
