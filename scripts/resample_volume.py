"""Bring a source onto the grid of its model."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.settings.recipe import Normalization
from parafovea.stages.resample_volume import resample_volume

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    resample_volume(
        snakemake.params.source,
        Path(snakemake.output.volume),
        metadata=snakemake.params.metadata,
        folder=Path(),
        spacing=tuple(snakemake.params.spacing),
        unit=snakemake.params.unit,
        normalization=Normalization(**snakemake.params.normalization),
        nonfinite=snakemake.params.nonfinite,
        bands=snakemake.params.bands,
        kind=snakemake.params.kind,
        find_body=snakemake.params.find_body,
    )
