"""Measure a segmentation, against its truth where there is one."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.measure_quality import measure_quality

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    measure_quality(
        Path(snakemake.input.prediction),
        Path(snakemake.input.classes),
        Path(snakemake.input.objects),
        Path(snakemake.output.json),
        Path(snakemake.output.table),
        truth=snakemake.params.truth,
        metadata=snakemake.params.metadata,
        limits=snakemake.params.limits,
    )
