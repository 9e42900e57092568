"""Count the values of one block of a source."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.scan_block import scan_block

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    scan_block(**call)
