"""Count what the quality of a segmentation needs in one of its blocks."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.measure_quality_block import measure_quality_block

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    measure_quality_block(**call)
