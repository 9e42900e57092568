"""Bring a source onto the grid of its model."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.resample_volume import resample_volume

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    unit = snakemake.params.unit
    resample_volume(
        Path(snakemake.output.volume),
        source=snakemake.params.source,
        metadata=snakemake.params.metadata,
        spacing=snakemake.params.spacing,
        unit=unit,
        normalization=snakemake.params.normalization,
        nonfinite=snakemake.params.nonfinite,
        bands=snakemake.params.bands,
        check_hounsfield=snakemake.params.kind == "detection" and unit == "millimeter",
    )
