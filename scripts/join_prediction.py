"""Join the blocks of a prediction."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.join_prediction import join_prediction

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    join_prediction(**call)
