"""Join the blocks of features."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.join_features import join_features

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    join_features(**call)
