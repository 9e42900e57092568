"""Merge the ledgers of a folder of tiles."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.collect_tiles import collect_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    collect_tiles(**call)
