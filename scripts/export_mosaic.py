"""Write a refined mosaic on the pixels of its source."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.export_mosaic import export_mosaic

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    export_mosaic(
        Path(snakemake.input.volume),
        Path(snakemake.input.prediction),
        Path(snakemake.output.mosaic),
        Path(snakemake.output.tiles),
        Path(snakemake.output.quarantine),
        source=snakemake.params.source,
        metadata=snakemake.params.metadata,
    )
