"""Draw the detections of a scan and write its page."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.render_detections import render_detections

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    scene = snakemake.output.get("scene")
    render_detections(
        Path(snakemake.input.detections),
        Path(snakemake.input.prediction),
        Path(snakemake.input.quality),
        Path(snakemake.input.metrics),
        Path(snakemake.output.html),
        Path(snakemake.output.visualization),
        Path(snakemake.output.confidences),
        Path(snakemake.output.pdf),
        None if scene is None else Path(scene),
        sample=snakemake.wildcards.sample,
        source=snakemake.params.source,
        metadata=snakemake.params.metadata,
        settings=snakemake.params.visualization,
        detection=snakemake.params.detection,
        triage=snakemake.params.triage,
    )
