"""Put the scores of the context study into one table and one figure."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.runtime.job import stage
from parafovea.stages.plot_context_study import plot_context_study

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake):
    plot_context_study(
        [Path(path) for path in snakemake.input.scores],
        Path(snakemake.output.table),
        [Path(path) for path in snakemake.output.figures],
        ratio=snakemake.params.ratio,
    )
