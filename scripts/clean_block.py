"""Remove small components of a block or fill its holes."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.clean_block import clean_block

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    clean_block(**call)
