"""Measure a segmentation, against its truth if it has one."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.measure_quality import measure_quality

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    measure_quality(**call)
