"""Write the object ids of a block."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.number_block import number_block

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    number_block(**call)
