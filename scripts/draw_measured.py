"""Draw a figure of the documentation from its table."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.draw_measured import draw_measured

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    draw_measured(**call)
