"""Write a refined mosaic on its source's pixels."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.export_mosaic import export_mosaic

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    export_mosaic(**call)
