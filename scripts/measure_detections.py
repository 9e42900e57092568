"""Measure the detections of a scan, against its truth where there is one."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.measure_detections import measure_detections

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    measure_detections(
        Path(snakemake.input.detections),
        Path(snakemake.input.prediction),
        Path(snakemake.output.json),
        Path(snakemake.output.table),
        source=snakemake.params.source,
        truth=snakemake.params.truth,
        metadata=snakemake.params.metadata,
        limits=snakemake.params.limits,
    )
