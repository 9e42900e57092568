"""Split the objects that are assigned to a block."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.split_block import split_block

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    split_block(**call)
