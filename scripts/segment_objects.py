"""Turn probabilities into classes and numbered objects."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.segment_objects import segment_objects

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    segment_objects(
        Path(snakemake.input.prediction),
        Path(snakemake.output.classes),
        Path(snakemake.output.objects),
        Path(snakemake.output.table),
        method=snakemake.params.method,
        connectivity=snakemake.params.connectivity,
        class_settings=snakemake.params.classes,
    )
