"""Join classes and objects of a volume from the parts of its blocks."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.join_objects import join_objects

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    join_objects(**call)
