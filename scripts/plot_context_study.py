"""Write the table and the figure of the context study's scores."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.plot_context_study import plot_context_study

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    plot_context_study(**call)
