"""Draw the detections of a scan and write its page."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.settings.postprocess import DetectionSettings
from parafovea.settings.report import VisualizationSettings
from parafovea.stages.render_detections import DetectionPictures, render_detections

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    scene = snakemake.output.get("scene")
    render_detections(
        Path(snakemake.input.prediction),
        Path(snakemake.input.volume),
        snakemake.params.source,
        Path(snakemake.input.detections),
        DetectionPictures(
            visualization=Path(snakemake.output.visualization),
            confidences=Path(snakemake.output.confidences),
            pdf=Path(snakemake.output.pdf),
            scene=None if scene is None else Path(scene),
            html=Path(snakemake.output.html),
        ),
        quality=Path(snakemake.input.quality),
        metrics=Path(snakemake.input.metrics),
        sample=snakemake.wildcards.sample,
        metadata=snakemake.params.metadata,
        settings=VisualizationSettings.model_validate(snakemake.params.visualization),
        detection=DetectionSettings.model_validate(snakemake.params.detection),
        triage=snakemake.params.triage,
    )
