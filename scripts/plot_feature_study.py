"""Write the table and the figure of the feature study's scores."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.plot_feature_study import plot_feature_study

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    plot_feature_study(**call)
