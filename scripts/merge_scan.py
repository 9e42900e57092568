"""Add the counts of all blocks of a source."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.merge_scan import merge_scan

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    merge_scan(**call)
