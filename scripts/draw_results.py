"""Draw the figures for papers of all samples with a truth."""

from typing import TYPE_CHECKING

from parafovea.drivers.job import stage
from parafovea.stages.draw_results import draw_results

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake) as call:
    draw_results(**call)
