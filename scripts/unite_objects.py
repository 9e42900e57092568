"""Unite the objects that blocks share."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.unite_objects import unite_objects

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    unite_objects(**call)
