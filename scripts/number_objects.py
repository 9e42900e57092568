"""Number the objects of all blocks."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.number_objects import number_objects

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    number_objects(**call)
