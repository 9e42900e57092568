"""Measure the tiles of a sample, against their truth if they have one."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.measure_tiles import measure_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    measure_tiles(**call)
