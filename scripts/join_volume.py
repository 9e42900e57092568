"""Join the blocks of a volume."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.join_volume import join_volume

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    join_volume(**call)
