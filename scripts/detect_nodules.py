"""Turn a heatmap into detections, and write it in the scan's own voxels."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.detect_nodules import detect_nodules

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    detect_nodules(
        Path(snakemake.input.prediction),
        Path(snakemake.output.json),
        Path(snakemake.output.table),
        Path(snakemake.output.heatmap),
        sample=snakemake.wildcards.sample,
        source=snakemake.params.source,
        metadata=snakemake.params.metadata,
        settings=snakemake.params.detection,
        **snakemake.params.triage,
    )
